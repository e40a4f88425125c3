//! What only the embedded store promises: it survives death, damage and a full disk, or says what not.

mod clock;
mod damage;
mod disk;
mod effects;
mod full;
mod kill;
mod layout;
mod levels;
mod limits;
mod reopen;
mod same;
mod streams;
mod torn;
