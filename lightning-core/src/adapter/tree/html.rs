//! A tree as a page that shows when what happened.

use std::fmt::{self, Write as _};

use super::{TraceTree, TreeNode};
use crate::types::{SpanStatusCode, Timestamp};

/// Deeper nodes are not indented further.
const MAX_INDENT: usize = 60;

const STYLE: &str = "\
body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}\
details{border-bottom:1px solid #8883}\
summary{display:grid;grid-template-columns:minmax(16rem,2fr) 6rem 3fr;gap:1rem;cursor:pointer;padding:.1rem 0}\
summary>span:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}\
summary>span:nth-child(2){text-align:right;font-variant-numeric:tabular-nums}\
.way{position:relative;height:1.2em;align-self:center}\
.bar{position:absolute;top:0;bottom:0;min-width:2px;border-radius:2px;background:#4a90d9}\
.error .bar{background:#d9534f}.reward .bar{background:#5cb85c}.virtual .bar{background:#999}\
.agent{opacity:.7}\
table{margin:.2rem 0 .8rem 2rem;border-collapse:collapse}\
td{vertical-align:top;padding:.1rem .8rem .1rem 0;white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace}";

impl TraceTree<'_> {
    /// A page of HTML that shows the spans as a waterfall: one line each, with a bar from start to end; a click on it shows
    /// the attributes. It stands alone, without scripts, and is sound whatever the spans hold.
    ///
    /// Attributes hold prompts and answers: mind to whom you show it.
    pub fn to_html(&self, title: &str) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_html(&mut page, title);
        page
    }

    fn write_html(&self, page: &mut String, title: &str) -> fmt::Result {
        let times = || {
            self.depth_first()
                .flat_map(|node| [node.start(), node.end()])
                .flatten()
        };
        let window = times().min().zip(times().max());
        write!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n",
            title = Escaped(title),
        )?;
        let mut rest = vec![(self.root(), 0)];
        while let Some((node, depth)) = rest.pop() {
            write_row(page, node, depth, window)?;
            rest.extend(node.children().rev().map(|child| (child, depth + 1)));
        }
        page.push_str("</body></html>\n");
        Ok(())
    }
}

fn write_row(
    page: &mut String,
    node: TreeNode<'_, '_>,
    depth: usize,
    window: Option<(Timestamp, Timestamp)>,
) -> fmt::Result {
    let reward = node.reward();
    let class = match node.span() {
        None => "virtual",
        Some(span) if span.status.status_code == SpanStatusCode::Error => "error",
        Some(_) if reward.is_some() => "reward",
        Some(_) => "span",
    };
    write!(
        page,
        "<details class=\"{class}\"><summary><span style=\"padding-left:{}rem\">{}",
        depth.min(MAX_INDENT),
        Escaped(node.name())
    )?;
    if let Some(agent) = node.agent_name() {
        write!(page, " <span class=\"agent\">[{}]</span>", Escaped(agent))?;
    }
    if let Some(reward) = &reward {
        write!(page, " <b>{}</b>", reward.primary())?;
    }
    page.push_str("</span><span>");
    if let (Some(start), Some(end)) = (node.start(), node.end()) {
        write!(page, "{:.3} s", end - start)?;
    }
    page.push_str("</span><span class=\"way\">");
    if let (Some(start), Some(end), Some((from, to))) = (node.start(), node.end(), window) {
        let percent = |seconds: f64| match (to - from).max(f64::MIN_POSITIVE) {
            whole if whole.is_finite() => (seconds / whole * 100.0).clamp(0.0, 100.0),
            _ => 0.0,
        };
        write!(
            page,
            "<span class=\"bar\" style=\"left:{:.3}%;width:{:.3}%\"></span>",
            percent(start - from),
            percent(end - start)
        )?;
    }
    page.push_str("</span></summary><table>");
    write!(
        page,
        "<tr><td>span_id</td><td>{}</td></tr>",
        Escaped(node.span_id())
    )?;
    for (key, value) in node.span().into_iter().flat_map(|span| &span.attributes) {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        write!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            Escaped(key),
            Escaped(&value)
        )?;
    }
    page.push_str("</table></details>\n");
    Ok(())
}

/// Text within HTML, or within an attribute in double quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let (text, special) = match part.as_bytes().last() {
                Some(b'&') => (&part[..part.len() - 1], "&amp;"),
                Some(b'<') => (&part[..part.len() - 1], "&lt;"),
                Some(b'>') => (&part[..part.len() - 1], "&gt;"),
                Some(b'"') => (&part[..part.len() - 1], "&quot;"),
                Some(b'\'') => (&part[..part.len() - 1], "&#39;"),
                _ => (part, ""),
            };
            f.write_str(text)?;
            f.write_str(special)?;
        }
        Ok(())
    }
}
