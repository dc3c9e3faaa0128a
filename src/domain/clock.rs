//! The statutory clock (GDPR Art. 12(3); Regulation 1182/71).
