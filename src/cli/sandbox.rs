//! Cases that a command is given, looked at by a confined worker process: what they do to a process they
//! do to that one, and the command says what became of it.

use parallax::campaign::protocol::LINE_BYTES;
use parallax::campaign::sandbox::Sandbox as Workers;
use parallax::campaign::sandbox::{Ending, Fate, Served};
use parallax::case::Case;
use parallax::case::wast::to_wast;
use parallax::coverage::Features;
use parallax::harness::Examined;
use parallax::score::Fault;
use parallax::triage::shrink::Examiner;
use parallax_oracles::{Reason, Verdict};

use super::explain::Explained;
use super::input::{Input, Kind, Source};
use super::options;
use super::sandboxed::{Answer, Orders, Request, What};
use super::verdict::{Scripts, Told};

/// The hidden command by which the program runs as such a worker.
const COMMAND: &str = "sandboxed";

/// Explaining a case runs it so many times that it may take this many times what a case may.
const EXPLAIN_PATIENCE: u32 = 30;

/// Looks at cases through worker processes.
pub struct Sandbox {
    workers: Workers<Answer>,
    requests: u64,
}

/// What a worker answers that forgot what it was asked; or one that hostile code speaks for.
const BABBLE: &str = "a worker process answers what it was not asked";

impl Sandbox {
    /// Starts a worker with these engines.
    pub fn new(
        workers: &options::Workers,
        subjects: &[&'static str],
        fault: Option<Fault>,
    ) -> anyhow::Result<Sandbox> {
        let station = workers.station(false);
        let orders = Orders {
            subjects: subjects.iter().map(ToString::to_string).collect(),
            fault,
            mishaps: station.mishaps.clone(),
            abort_at: workers.abort_at.clone(),
        };
        let workers = Workers::new(station, COMMAND, &orders).map_err(anyhow::Error::msg)?;
        Ok(Sandbox {
            workers,
            requests: 0,
        })
    }

    fn ask(
        &mut self,
        source: Source,
        what: What,
        patience: u32,
        enough: &dyn Fn() -> bool,
    ) -> Result<Served<Answer>, String> {
        let request = Request {
            number: self.requests,
            source,
            what,
        };
        // Printing what brought a worker down is no step further.
        self.requests += u64::from(what != What::Read);
        self.workers.ask(&request, patience, enough)
    }

    /// Runs the case of a file and says what came of it; in one line if it holds none.
    pub fn examine(
        &mut self,
        source: Source,
        scripts: Scripts,
    ) -> anyhow::Result<Result<Told, String>> {
        let (name, kind) = (source.name.clone(), source.kind);
        let served = self.ask(source.clone(), What::Tell(scripts), 1, &never);
        match served.map_err(anyhow::Error::msg)?.or_verdict() {
            Ok(Answer::Told(told)) => Ok(told),
            Ok(Answer::TooLarge) => Ok(Err(format!("{name}: {}", too_large()))),
            Ok(_) => anyhow::bail!(BABBLE),
            Err(ending) => {
                let told = matches!(ending, Ending::Crashed(_)) || scripts == Scripts::Always;
                let told = told && scripts != Scripts::Never && kind == Kind::Raw;
                let script = told.then(|| self.script(source)).flatten();
                Told::ended(&name, kind, &ending, script)
                    .map(Ok)
                    .map_err(anyhow::Error::msg)
            }
        }
    }

    /// Makes the case of a file, in this process, once a worker has seen to it that this can be done.
    pub fn read(&mut self, source: &Source) -> anyhow::Result<Input> {
        let served = self.ask(source.clone(), What::Read, 1, &never);
        match served.map_err(anyhow::Error::msg)?.or_verdict() {
            // What it looks like as a script is of no interest here.
            Ok(Answer::Read(_) | Answer::TooLarge) => Input::of(source).map_err(anyhow::Error::msg),
            Ok(_) => anyhow::bail!(BABBLE),
            Err(ending) => anyhow::bail!("{}: it cannot be read: {ending}", source.name),
        }
    }

    /// A case that nobody runs, as a script.
    fn script(&mut self, source: Source) -> Option<String> {
        match self.ask(source, What::Read, 1, &never).ok()?.answer.ok()? {
            Answer::Read(script) => script.ok(),
            _ => None,
        }
    }

    /// Runs the case of a file and says what it exercises; in one line if it holds none. One that
    /// brings its worker down exercises what no other does.
    pub fn cover(&mut self, source: Source) -> anyhow::Result<Result<Features, String>> {
        let name = source.name.clone();
        let served = self.ask(source, What::Cover, 1, &never);
        match served.map_err(anyhow::Error::msg)?.or_verdict() {
            Ok(Answer::Covered(features)) => Ok(features),
            Ok(Answer::TooLarge) => Ok(Err(format!("{name}: {}", too_large()))),
            Ok(_) => anyhow::bail!(BABBLE),
            Err(ending) => Ok(Ok([format!("ending:{ending}")].into())),
        }
    }

    /// Finds out whose fault a divergence is; in one line if that cannot be.
    pub fn explain(
        &mut self,
        source: Source,
        html: bool,
    ) -> anyhow::Result<Result<Explained, Ending>> {
        let name = source.name.clone();
        let served = self.ask(source, What::Explain { html }, EXPLAIN_PATIENCE, &never);
        match served.map_err(anyhow::Error::msg)?.or_verdict() {
            Ok(Answer::Explained(explained)) => {
                explained.map(|it| Ok(*it)).map_err(anyhow::Error::msg)
            }
            Ok(Answer::TooLarge) => anyhow::bail!("{name}: {}", too_large()),
            // What goes wrong on purpose.
            Ok(Answer::Told(_)) => anyhow::bail!("{name}: a bug in parallax itself"),
            Ok(_) => anyhow::bail!(BABBLE),
            Err(ending) => Ok(Err(ending)),
        }
    }
}

/// That a worker cannot send what there is to tell of a case.
fn too_large() -> String {
    let most = LINE_BYTES >> 20;
    format!("the case is too large: what there is to tell of it takes more than {most} MiB")
}

fn never() -> bool {
    false
}

/// Runs the candidates of a shrinker in a sandbox. Those that bring their worker down are seen to do so,
/// and a case that does is shrunk like any other.
pub struct Remote<'a> {
    sandbox: &'a mut Sandbox,
    /// The file of the case itself, which need not be a script.
    whole: Source,
    in_a_hurry: bool,
}

impl<'a> Remote<'a> {
    /// To shrink the case of a file.
    pub fn new(sandbox: &'a mut Sandbox, whole: Source) -> Remote<'a> {
        Remote {
            sandbox,
            whole,
            in_a_hurry: false,
        }
    }

    /// What came of a case; nothing if that is more than can be sent.
    fn ask(
        &mut self,
        source: Source,
        enough: &dyn Fn() -> bool,
    ) -> Result<Option<Examined>, String> {
        let what = What::Examine {
            in_a_hurry: self.in_a_hurry,
        };
        // What a fresh worker says of the case alone; others may have been ruined by what they ran.
        match self.sandbox.ask(source, what, 1, enough)?.answer {
            Ok(Answer::Examined(Ok(sent))) => {
                let examined = sent.received().ok_or_else(|| BABBLE.to_string());
                examined.map(Some)
            }
            // What is no script, as one without a module, is no candidate.
            Ok(Answer::Examined(Err(_))) => Ok(Some(no_candidate())),
            Ok(Answer::TooLarge) => Ok(None),
            Ok(_) => Err(BABBLE.to_string()),
            Err(fate) => Ok(Some(brought_down(fate))),
        }
    }
}

impl Examiner for Remote<'_> {
    fn whole(&mut self, _case: &Case, enough: &dyn Fn() -> bool) -> Result<Examined, String> {
        let examined = self.ask(self.whole.clone(), enough)?;
        examined.ok_or_else(too_large)
    }

    fn examine(&mut self, case: &Case, enough: &dyn Fn() -> bool) -> Result<Examined, String> {
        let script = to_wast(case, None, "");
        let examined = self.ask(Source::script(script), enough)?;
        Ok(examined.unwrap_or_else(no_candidate))
    }

    fn hurry(&mut self) {
        self.in_a_hurry = true;
    }
}

/// What is said of a case that is not to be the next one.
fn no_candidate() -> Examined {
    Examined::without_engines(Verdict::Inconclusive(Reason::Unsupported))
}

/// What came of a case that brought its worker down.
fn brought_down(fate: Fate) -> Examined {
    let ending = Ending::from(fate);
    let verdict = match (&ending, ending.found()) {
        (_, Some(found)) => Verdict::Diverged(found.findings),
        (Ending::Inconclusive(reason, _), None) => Verdict::Inconclusive(*reason),
        (Ending::Crashed(_), None) => Verdict::Inconclusive(Reason::Killed),
    };
    Examined::without_engines(verdict)
}
