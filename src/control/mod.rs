//! What is slow or shared, on threads of its own: the topology's refresh, and the debug address.
