//! Built-in learners, with the proximal term of FedProx.
