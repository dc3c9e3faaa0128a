//! What is held about a person, as the access package shows it (Art. 15).
