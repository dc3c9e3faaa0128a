//! Cases, requests, tasks, packages.
