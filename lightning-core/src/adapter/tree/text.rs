//! A tree as lines of text.

use std::fmt;

use super::TraceTree;

/// Deeper nodes are not indented further: the text of a deep tree would grow with the square of its depth.
const MAX_INDENT: usize = 40;

/// One line for each node: name, agent, duration, reward.
///
/// ```text
/// run_one.session  2.100 s
/// ├─ planner [planner]  1.200 s
/// │  └─ openai.chat.completion  1.100 s
/// └─ agentlightning.annotation  reward 0.5
/// ```
impl fmt::Display for TraceTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of each node the depth, and of each depth above it whether more siblings follow there.
        let mut rest = vec![(self.root(), 0_usize, true)];
        let mut more_follow: Vec<bool> = Vec::new();
        while let Some((node, depth, is_last)) = rest.pop() {
            more_follow.truncate(depth.saturating_sub(1));
            if depth > 0 {
                let from = (depth - 1).saturating_sub(MAX_INDENT);
                if from > 0 {
                    write!(f, "{depth}… ")?;
                }
                for follow in &more_follow[from..] {
                    f.write_str(if *follow { "│  " } else { "   " })?;
                }
                f.write_str(if is_last { "└─ " } else { "├─ " })?;
                more_follow.push(!is_last);
            }
            one_line(f, node.name())?;
            if let Some(agent) = node.agent_name() {
                f.write_str(" [")?;
                one_line(f, agent)?;
                f.write_str("]")?;
            }
            if let (Some(start), Some(end)) = (node.start(), node.end()) {
                write!(f, "  {:.3} s", end - start)?;
            }
            if let Some(reward) = node.reward() {
                write!(f, "  reward {}", reward.primary())?;
            }
            f.write_str("\n")?;
            let children = node.children().rev().enumerate();
            rest.extend(children.map(|(from_end, child)| (child, depth + 1, from_end == 0)));
        }
        Ok(())
    }
}

/// Names come from outside: whatever they hold, they take one line.
fn one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for part in text.split_inclusive(char::is_control) {
        match part.char_indices().next_back() {
            Some((at, last)) if last.is_control() => write!(f, "{}{}", &part[..at], last.escape_default())?,
            _ => f.write_str(part)?,
        }
    }
    Ok(())
}
