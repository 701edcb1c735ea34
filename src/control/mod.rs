//! What is slow or shared, on threads of its own: the topology's refresh, the survey of the servers, and
//! the debug address.

pub mod http;
mod link;
pub mod message;
mod names;
mod random;
pub mod refresh;
pub mod routes;
pub mod survey;
