//! A connection whose prompt is so long that its tokens are counted elsewhere, before it is
//! inspected: this core serves the others meanwhile.

use std::time::Duration;

use super::connection::{Connection, Next};
use super::wait::{Awaited, awaiting};
use crate::exchange::{Answer, Begun};

/// How long counting may take, with the wait for those that came before.
const COUNT_MAX: Duration = Duration::from_secs(30);

/// The same request with its tokens counted; or what comes next, where it has ended.
pub(super) async fn run(connection: &mut Connection<'_>, mut begun: Begun) -> Result<Begun, Next> {
    let count = begun.to_count(&connection.head);
    let Ok(counted) = connection.worker.core.node.tokens.count(count) else {
        return Err(connection.refuse(begun.refuse(overloaded())).await);
    };
    connection.deadline.set(COUNT_MAX);
    let Connection { io, deadline, .. } = &mut *connection;
    let answer = match awaiting(io, deadline, counted).await {
        Awaited::Done(Ok((body, tokens))) => {
            begun.counted(body, tokens);
            return Ok(begun);
        }
        // Dropping it records that the client went away.
        Awaited::ClientGone => return Err(Next::Drop),
        Awaited::Due if deadline.take_cut() => Answer::revoked().closing(),
        // Those who count have gone, or have too much to do.
        Awaited::Done(Err(_)) | Awaited::Due => overloaded(),
    };
    Err(connection.refuse(begun.refuse(answer)).await)
}

fn overloaded() -> Answer {
    let message = "The tokens of this prompt could not be counted in time, so whether you may send \
                   it is not known. Try again in a moment.";
    Answer::new(503, "overloaded", message)
}
