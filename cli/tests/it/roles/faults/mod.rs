//! What fails in a deployment, one test for each row of `docs/when-things-fail.md`: nothing is lost or refused, it is said what is
//! wrong, a role that is told to stop ends in good order meanwhile, and after the mend all goes on by itself and ends as if nothing had been.
mod dev;
mod documented;
mod gone;
mod kafka;
mod orders;
mod postgres;
mod scene;
mod secure;
