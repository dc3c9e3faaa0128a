//! Requests of people under Art. 15–21.
