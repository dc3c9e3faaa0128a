//! Tests of the doors out: real servers, real files.

mod answer;
mod attacks;
mod file;
mod webhook;
