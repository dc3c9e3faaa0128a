//! A decision is asked for; a recipient pulls the fields it may have.
