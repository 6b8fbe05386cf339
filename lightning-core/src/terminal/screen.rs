//! Where a process writes for people.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal as _, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};

/// How often bars are drawn at most, each second.
const FRAMES: u8 = 20;
/// The columns of what is no terminal.
const COLUMNS: u16 = 100;

/// Where a process writes for people: mostly its standard error. A clone is the same screen.
///
/// Bars of [`TerminalProgress`](super::TerminalProgress) stay at the bottom, and everything that is printed appears above
/// them. That holds for what goes through the same screen; text written to the terminal in other ways while bars are
/// shown ends up among them.
///
/// Writing never fails: if the other end is closed, the text is lost and the program goes on.
///
/// ```
/// use lightning_core::terminal::Screen;
///
/// Screen::stderr().print("the first candidate is ready");
/// ```
#[derive(Clone)]
pub struct Screen {
    shared: Arc<Shared>,
}

struct Shared {
    canvas: Canvas,
    bars: Option<MultiProgress>,
    /// How many bars are on the screen.
    shown: AtomicUsize,
    has_colours: bool,
    is_stderr: bool,
}

/// The columns of the process's standard output, if that is a terminal.
#[cfg(feature = "cli")]
pub(crate) fn output_columns() -> Option<usize> {
    let term = Term::stdout();
    term.is_term().then(|| usize::from(term.size().1))
}

/// What is written to. A clone writes to the same.
#[derive(Clone)]
struct Canvas {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    size: Size,
}

#[derive(Clone)]
enum Size {
    Fixed { columns: u16, rows: u16 },
    Of(Term),
}

impl Screen {
    /// The process's standard error. It counts as a terminal if it is one and `TERM` is neither unset nor `dumb`; colours
    /// are used on a terminal unless `NO_COLOR` is set.
    pub fn stderr() -> Self {
        static STDERR: OnceLock<Screen> = OnceLock::new();
        let open = || {
            let term = Term::stderr();
            let is_terminal = io::stderr().is_terminal() && !console::is_dumb();
            let has_colours = is_terminal && term.features().colors_supported();
            let size = if is_terminal { Size::Of(term) } else { Size::NONE };
            // What belongs together is written at once.
            let canvas = Canvas::new(BufWriter::new(io::stderr()), size);
            Self::new(canvas, is_terminal, has_colours, true)
        };
        STDERR.get_or_init(open).clone()
    }

    /// Something that is no terminal, such as a file.
    pub fn plain(out: impl Write + Send + 'static) -> Self {
        Self::new(Canvas::new(out, Size::NONE), false, false, false)
    }

    /// A terminal of that size that understands ANSI control sequences, without colours. Every change is drawn at once, and
    /// nothing moves by itself: for tests.
    pub fn terminal(out: impl Write + Send + 'static, columns: u16, rows: u16) -> Self {
        Self::new(
            Canvas::new(out, Size::Fixed { columns, rows }),
            true,
            false,
            false,
        )
    }

    fn new(canvas: Canvas, is_terminal: bool, has_colours: bool, is_stderr: bool) -> Self {
        let bars = is_terminal.then(|| {
            let canvas = Box::new(canvas.clone());
            let target = if is_stderr {
                ProgressDrawTarget::term_like_with_hz(canvas, FRAMES)
            } else {
                ProgressDrawTarget::term_like(canvas)
            };
            MultiProgress::with_draw_target(target)
        });
        let shown = AtomicUsize::new(0);
        Self {
            shared: Arc::new(Shared {
                canvas,
                bars,
                shown,
                has_colours,
                is_stderr,
            }),
        }
    }

    /// Whether it can show bars.
    pub fn is_terminal(&self) -> bool {
        self.shared.bars.is_some()
    }

    /// Whether text may be coloured.
    pub fn has_colours(&self) -> bool {
        self.shared.has_colours
    }

    /// How many columns it has now; 100, if it is no terminal.
    pub fn columns(&self) -> usize {
        usize::from(self.shared.canvas.width())
    }

    /// Writes the text, and a line feed unless it ends with one, above the bars if there are any.
    ///
    /// Texts that are printed at the same time do not mix. Blocks while the other end takes nothing.
    pub fn print(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.without_bars(|| self.shared.canvas.print(format_args!("{text}{end}"), true));
    }

    /// Takes the bars off while the function runs, which may write to the terminal by itself, whole lines only. Meanwhile
    /// nobody else can print.
    pub fn without_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.shared.bars {
            Some(bars) if self.shared.shown.load(Ordering::Relaxed) > 0 => bars.suspend(write),
            _ => write(),
        }
    }

    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.shared.bars.as_ref()
    }

    /// Whether bars should move by themselves. Elsewhere than on standard error somebody tests what is drawn.
    pub(super) fn is_live(&self) -> bool {
        self.shared.is_stderr
    }

    pub(super) fn count_bar(&self) {
        self.shared.shown.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn discount_bar(&self) {
        self.shared.shown.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("is_terminal", &self.is_terminal())
            .field("is_stderr", &self.shared.is_stderr)
            .finish_non_exhaustive()
    }
}

impl Size {
    const NONE: Self = Self::Fixed {
        columns: COLUMNS,
        rows: u16::MAX,
    };

    fn rows_and_columns(&self) -> (u16, u16) {
        match self {
            Self::Fixed { columns, rows } => (*rows, *columns),
            Self::Of(term) => term.size(),
        }
    }
}

impl Canvas {
    fn new(out: impl Write + Send + 'static, size: Size) -> Self {
        let out: Box<dyn Write + Send> = Box::new(out);
        Self {
            out: Arc::new(Mutex::new(out)),
            size,
        }
    }

    /// Nobody can be told that nobody listens, so errors end here. indicatif would panic on some of them.
    fn print(&self, text: fmt::Arguments<'_>, flush: bool) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_fmt(text);
        if flush && written.is_ok() {
            let _ = out.flush();
        }
    }

    /// Moves the cursor. A count of zero would count as one.
    fn travel(&self, n: usize, direction: char) {
        if n > 0 {
            self.print(format_args!("\x1b[{n}{direction}"), false);
        }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.size.rows_and_columns().1
    }

    fn height(&self) -> u16 {
        self.size.rows_and_columns().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.travel(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.travel(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.travel(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.travel(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.print(format_args!("{text}\n"), false);
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.print(format_args!("{text}"), false);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.print(format_args!("\r\x1b[2K"), false);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.print(format_args!(""), true);
        Ok(())
    }
}

impl fmt::Debug for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canvas").finish_non_exhaustive()
    }
}
