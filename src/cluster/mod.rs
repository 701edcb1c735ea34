//! Where keys live: slots, the topology, and the route of a request.

<<<<<<< HEAD
pub mod route;
=======
pub mod build;
pub mod change;
pub mod idc;
>>>>>>> wt-c
pub mod slot;
pub mod topology;
pub mod view;
