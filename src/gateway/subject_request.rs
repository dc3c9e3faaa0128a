//! A person asks (Art. 15–21): from intake to answer.
