//! `parallax sandboxed`, which nobody types: what commands run themselves as, to have the code of cases
//! run by a worker that is confined and may die of it ([`super::sandbox`]).

use std::io::{self, BufReader};

use anyhow::Context;
use clap::Args;
use parallax::campaign::Mishap;
use parallax::campaign::protocol::{Reply, hear, say, say_or};
use parallax::campaign::worker::{self, Prepared};
use parallax::case::Case;
use parallax::case::wast::to_wast;
use parallax::coverage;
use parallax::engine::registry;
use parallax::panics;
use parallax::runtime::watchdog::Hurry;
use parallax::score::Fault;
use parallax::triage::localise;
use serde::{Deserialize, Serialize};

use super::examined::Sent;
use super::explain::{self, Explained};
use super::input::{Input, Source};
use super::options::{self, Layers};
use super::status::Status;
use super::verdict::{Runner, Scripts, Told};

const NOT_BY_HAND: &str = "this command is for other commands to run";

/// Look at cases for a supervisor on standard input and output
#[derive(Args)]
pub struct Sandboxed {
    #[arg(long, value_parser = options::layers, default_value = "landlock,seccomp")]
    confine_by: Layers,
}

/// What it is told first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The engines to compare with the reference.
    pub subjects: Vec<String>,
    /// A fault to plant in them.
    pub fault: Option<Fault>,
    /// What is to go wrong, at requests instead of cases.
    pub mishaps: Vec<Mishap>,
    /// An instruction at which the process aborts, as a compiler might: to see what becomes of such
    /// cases.
    pub abort_at: Option<String>,
}

/// What it is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The number of the request.
    pub number: u64,
    /// The case.
    pub source: Source,
    /// What is to be done with it.
    pub what: What,
}

/// What is to be done with a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    /// Read it, and print it as a script. Answered by [`Answer::Read`].
    Read,
    /// Run it, and say what came of it. Answered by [`Answer::Told`].
    Tell(Scripts),
    /// Run it. Answered by [`Answer::Examined`].
    Examine {
        /// Whether calls that take long are of no interest.
        in_a_hurry: bool,
    },
    /// Run it, and say what it exercises. Answered by [`Answer::Covered`].
    Cover,
    /// Find out whose fault it is. Answered by [`Answer::Explained`].
    Explain {
        /// Whether there is to be a page.
        html: bool,
    },
}

/// What it answers; in the place of each, one line if there is no case or no explanation.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Read(Result<String, String>),
    Told(Result<Told, String>),
    Examined(Result<Box<Sent>, String>),
    Covered(Result<coverage::Features, String>),
    Explained(Result<Box<Explained>, String>),
    /// It is more than can be sent.
    TooLarge,
}

impl Sandboxed {
    /// Confines the process. To be called while it has but one thread.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        worker::prepare(&self.confine_by.0).context(NOT_BY_HAND)
    }

    pub fn run(prepared: Prepared) -> anyhow::Result<Status> {
        serve(prepared).context(NOT_BY_HAND)?;
        Ok(Status::Agreed)
    }
}

/// Serves the supervisor until it has no more to ask.
fn serve(prepared: Prepared) -> io::Result<()> {
    let mut requests = BufReader::new(io::stdin().lock());
    let mut replies = io::stdout().lock();
    let orders: Orders = hear(&mut requests)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let names = orders.subjects.iter().map(|name| registry::find(name));
    let subjects: Result<Vec<&'static str>, String> =
        names.map(|info| info.map(|it| it.name)).collect();
    let made = subjects.and_then(|subjects| {
        let runner = Runner::new(subjects.clone(), orders.fault)?;
        Ok((subjects, runner))
    });
    let (subjects, mut runner) = match made {
        Ok(made) => made,
        Err(why) => return say(&mut replies, &Reply::<Answer>::Unable(why)),
    };
    let options = localise::Options {
        subjects,
        fault: orders.fault,
    };
    say(&mut replies, &Reply::<Answer>::Ready(prepared.confined_by))?;
    let mut company = false;
    while let Some(request) = hear::<Request>(&mut requests)? {
        let mishap = orders
            .mishaps
            .iter()
            .find(|it| it.case == request.number && (company || !it.in_company));
        if let Some(name) = &orders.abort_at
            && request.what != What::Read
            && Input::of(&request.source).is_ok_and(|input| holds(input.case(), name))
        {
            std::process::abort();
        }
        let reply = match answer(&mut runner, &options, &request, mishap) {
            Ok(answer) => Reply::Answer(answer),
            Err(why) => Reply::Unable(why),
        };
        say_or(&mut replies, &reply, &Reply::Answer(Answer::TooLarge))?;
        company = true;
    }
    Ok(())
}

/// Whether a case has an instruction in it.
fn holds(case: &Case, name: &str) -> bool {
    let mut names = case
        .modules
        .iter()
        .flat_map(|module| module.opcodes.names());
    names.any(|it| it == name)
}

/// Does what is asked.
///
/// # Errors
/// One line, if no engine can be had any more.
fn answer(
    runner: &mut Runner,
    options: &localise::Options,
    request: &Request,
    mishap: Option<&Mishap>,
) -> Result<Answer, String> {
    let source = &request.source;
    let input = Input::of(source);
    if let (Some(mishap), false) = (mishap, request.what == What::Read) {
        // One that panics is caught, as those of engines are.
        if let Err(panic) = panics::catch(|| mishap.kind.happen()) {
            let input = input.map(|input| Input {
                panic: Some(panic),
                ..input
            });
            return Ok(Answer::Told(input.and_then(|input| {
                let scripts = match request.what {
                    What::Tell(scripts) => scripts,
                    _ => Scripts::Never,
                };
                runner.run(&input, &source.name, scripts)
            })));
        }
    }
    // Where there is a case at all.
    let case = input.and_then(|input| match &input.panic {
        Some(panic) if !matches!(request.what, What::Tell(_) | What::Cover) => Err(format!(
            "{}: reading it panics, so there is no case: {panic}",
            source.name
        )),
        _ => Ok(input),
    });
    Ok(match request.what {
        What::Read => Answer::Read(case.map(|input| {
            let origin = format!("from {}", source.name);
            to_wast(input.case(), None, &origin)
        })),
        What::Tell(scripts) => Answer::Told(match case {
            Ok(input) => Ok(runner.run(&input, &source.name, scripts)?),
            Err(error) => Err(error),
        }),
        What::Examine { in_a_hurry } => Answer::Examined(match case {
            Ok(input) => {
                let hurry = in_a_hurry.then(Hurry::new);
                let examined = runner.examine(input.case())?;
                drop(hurry);
                Ok(Box::new(examined.into()))
            }
            Err(error) => Err(error),
        }),
        What::Cover => Answer::Covered(match case {
            Ok(input) => {
                let examined = match &input.panic {
                    Some(panic) => Err(panic.clone()),
                    None => runner.catch(|harness| harness.examine(input.case()))?,
                };
                Ok(match examined {
                    Ok(examined) => coverage::features(input.case(), &examined),
                    Err(panic) => [format!("panic:{panic}")].into(),
                })
            }
            Err(error) => Err(error),
        }),
        What::Explain { html } => {
            let explained = case.and_then(|input| {
                let explain = || explain::explain(&source.name, input.case(), options, html);
                panics::catch(explain).unwrap_or_else(|panic| {
                    Err(format!(
                        "{}: a bug in parallax itself: {panic}",
                        source.name
                    ))
                })
            });
            Answer::Explained(explained.map(Box::new))
        }
    })
}
