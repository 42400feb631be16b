//! Side-by-side measurements of Penstock and the proxies beside it.
//!
//! The figure that matters is the CPU time which a subject spends on one unit of work (a request,
//! or one event of a stream), because wall time on a shared machine lies. One round starts an
//! upstream and one subject, each as a process of its own, drives them in a closed loop, verifies
//! every byte of every answer, and reads the subject's CPU time from `/proc` before and after.
//! Rounds of all subjects are interleaved, and only figures of one run are ever compared.
//!
//! - [`scenario`]: what is sent, and how it comes back
//! - [`traffic`]: the request and the answers, byte by byte
//! - [`upstream`]: the server that gives those answers
//! - [`driver`]: the closed and the open loop, and the verification
//! - [`floor`]: the cheapest thing that can carry the same bytes
//! - [`subject`]: how each subject is configured and started
//! - [`process`], [`cpu`], [`machine`]: children, their CPU time, and where all this ran
//! - [`compare`]: rounds; [`report`]: statistics, table, JSON, CSV
//! - [`overload`]: what a subject does with more than it can do
//!
//! Where that CPU time goes is shown by [`profile`]; whether it slips, in instructions, by [`bench`];
//! how many cores so much of it needs, by [`plan`].
//!
//! Beside that, the text commands look at scanning alone, without any proxy:
//!
//! - [`corpus`]: texts that nobody here wrote; [`tokens`]: cut as a model would give them
//! - [`hold`]: how much of an ordinary answer waits, and for how long
//! - [`speed`]: how fast, beside Vectorscan
//! - [`oracle`]: whether other engines find the same; [`generate`]: values for it
//! - [`detect`]: what is found and missed on labelled texts, and the alarms on wild ones
//! - [`rulesets`], [`dice`], [`figures`]: sets of rules, repeatable chance, what is printed

pub mod bench;
pub mod compare;
pub mod corpus;
pub mod cpu;
pub mod debian;
pub mod detect;
pub mod dice;
pub mod driver;
pub mod error;
pub mod figures;
pub mod floor;
pub mod generate;
pub mod hold;
pub use penstock_loadgen::machine;
pub mod oracle;
pub mod overload;
pub mod plan;
pub mod poller;
pub mod process;
pub mod profile;
pub mod report;
pub mod rulesets;
pub mod scenario;
pub mod speed;
pub mod subject;
pub mod tokens;
pub mod traffic;
pub mod upstream;
