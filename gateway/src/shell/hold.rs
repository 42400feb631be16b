//! A connection whose request is held: asks at the desk, and waits where there is something to wait
//! for, watching the client, the clock, its caller's standing and the end of the gateway meanwhile.
//!
//! What is waited for is withdrawn whichever way the wait ends: by a word to the desk that says why,
//! and in any case by dropping the receiver of its standing.

use std::time::Instant;

use tokio::sync::oneshot;

use super::connection::{Connection, Next};
use super::relay;
use super::wait::{Awaited, awaiting, write};
use crate::approvals::{Ask, Grant, Outcome, Refusal, Standing, UseError, Waiting};
use crate::exchange::Held;

/// How long the control thread may take to answer. A state that is locked is given up sooner.
const DESK_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// What came in place of an answer.
enum Lost {
    ClientGone,
    CutOff,
    Refused(Refusal),
}

/// Takes a held request to its end.
pub(super) async fn run(connection: &mut Connection<'_>, held: Held) -> Next {
    if let Some(id) = held.presented().map(str::to_owned) {
        return match spend(connection, &held, &id).await {
            Ok(grant) => go_on(connection, held, &[grant]).await,
            Err(lost) => lose(connection, held, lost, Some(&id)).await,
        };
    }
    let wanted = Box::new(held.wanted());
    let opened = ask(connection, |reply| Ask::Open { wanted, reply }).await;
    match opened {
        Ok(Outcome::Passes(grants)) => go_on(connection, held, &grants).await,
        Ok(Outcome::Ticket(ticket)) => {
            let answer = held.ticket(&ticket);
            connection.refuse(answer).await
        }
        Ok(Outcome::Waiting(waiting)) => wait(connection, held, waiting).await,
        Err(lost) => lose(connection, held, lost, None).await,
    }
}

/// To the model, as if nothing had held it.
async fn go_on(connection: &mut Connection<'_>, held: Held, grants: &[Grant]) -> Next {
    match held.release(grants, &connection.head) {
        Ok((forwarded, request)) => relay::run(connection, forwarded, request).await,
        Err(answer) => connection.refuse(answer).await,
    }
}

/// Uses an approval; the use is written down when this says yes.
async fn spend(connection: &mut Connection<'_>, held: &Held, id: &str) -> Result<Grant, Lost> {
    let claim = Box::new(held.claim(id));
    ask(connection, |reply| Ask::Spend { claim, reply }).await
}

/// Asks the control thread, and waits for its answer beside everything else.
async fn ask<T>(
    connection: &mut Connection<'_>,
    question: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Ask,
) -> Result<T, Lost> {
    let unavailable = Lost::Refused(Refusal::Unavailable);
    let (reply, told) = oneshot::channel();
    let asked = connection.worker.core.node.desk.ask(question(reply));
    if asked.is_err() {
        return Err(unavailable);
    }
    connection.deadline.set(DESK_MAX);
    let Connection { io, deadline, .. } = connection;
    match awaiting(io, deadline, told).await {
        Awaited::Done(Ok(answer)) => answer.map_err(Lost::Refused),
        Awaited::Done(Err(_)) => Err(unavailable),
        Awaited::ClientGone => Err(Lost::ClientGone),
        Awaited::Due if deadline.is_cut() => Err(Lost::CutOff),
        Awaited::Due => Err(unavailable),
    }
}

/// Ends a request that does not go on.
async fn lose(connection: &mut Connection<'_>, held: Held, lost: Lost, id: Option<&str>) -> Next {
    let answer = match lost {
        Lost::ClientGone => {
            held.abandoned(id);
            return Next::Drop;
        }
        Lost::CutOff => {
            connection.deadline.take_cut();
            held.revoked(id)
        }
        Lost::Refused(refusal) => held.refused(&refusal, id),
    };
    connection.refuse(answer).await
}

/// Waits until people have decided, or the wait ends otherwise.
async fn wait(connection: &mut Connection<'_>, mut held: Held, waiting: Waiting) -> Next {
    let Waiting {
        ticket,
        mut standing,
    } = waiting;
    let id = ticket.id.as_str();
    let until = Instant::now() + held.wait();
    let keep_alive = held.keep_alive();
    if keep_alive.is_some() {
        let version = connection.head.version;
        let mut out = Vec::new();
        held.begin(version, connection.persistence(), &ticket, &mut out);
        if !say(connection, out).await {
            withdraw(connection, id, "the caller went away");
            return lose(connection, held, Lost::ClientGone, Some(id)).await;
        }
    }
    loop {
        let (now, history) = standing.borrow_and_update().clone();
        held.note(id, &history);
        match now {
            Standing::Pending => {}
            Standing::Approved => {
                // `standing` lives on, or this would be withdrawn.
                let spent = spend(connection, &held, id).await;
                drop(standing);
                return match spent {
                    Ok(grant) => go_on(connection, held, &[grant]).await,
                    Err(lost) => lose(connection, held, lost, Some(id)).await,
                };
            }
            over => {
                let error = UseError::Over(over);
                let refused = Lost::Refused(Refusal::Use { error, history });
                return lose(connection, held, refused, Some(id)).await;
            }
        }
        if connection.worker.stopping.get() {
            withdraw(connection, id, "the gateway stopped");
            let answer = held.stopped(Some(id));
            return connection.refuse(answer).await;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return waited_too_long(connection, held, id).await;
        }
        let look = keep_alive.map_or(left, |every| every.min(left));
        connection.deadline.set_resting(look);
        let Connection { io, deadline, .. } = &mut *connection;
        match awaiting(io, deadline, standing.changed()).await {
            Awaited::Done(Ok(())) => {}
            Awaited::Done(Err(_)) => {
                let refused = Lost::Refused(Refusal::Unavailable);
                return lose(connection, held, refused, Some(id)).await;
            }
            Awaited::ClientGone => {
                withdraw(connection, id, "the caller went away");
                return lose(connection, held, Lost::ClientGone, Some(id)).await;
            }
            Awaited::Due if deadline.is_cut() => {
                withdraw(connection, id, "the caller was cut off");
                return lose(connection, held, Lost::CutOff, Some(id)).await;
            }
            Awaited::Due if keep_alive.is_some() => {
                let mut out = Vec::new();
                held.stay(&mut out);
                if !say(connection, out).await {
                    withdraw(connection, id, "the caller went away");
                    return lose(connection, held, Lost::ClientGone, Some(id)).await;
                }
            }
            Awaited::Due => {}
        }
    }
}

/// Nobody has decided in time: where the caller may come back, with a ticket; otherwise it is over.
async fn waited_too_long(connection: &mut Connection<'_>, held: Held, id: &str) -> Next {
    if !held.becomes_ticket() {
        withdraw(connection, id, "the wait was over");
        let answer = held.waited_too_long(id);
        return connection.refuse(answer).await;
    }
    let name = id.to_owned();
    match ask(connection, |reply| Ask::Release { id: name, reply }).await {
        Ok(ticket) => {
            let answer = held.ticket(&ticket);
            connection.refuse(answer).await
        }
        Err(lost) => lose(connection, held, lost, Some(id)).await,
    }
}

/// Says why nobody waits any more. Where there is no room to say it, dropping the wait says so much.
fn withdraw(connection: &Connection<'_>, id: &str, reason: &'static str) {
    let id = id.to_owned();
    let _ = connection
        .worker
        .core
        .node
        .desk
        .ask(Ask::Withdraw { id, reason });
}

/// Sends a part of a stream; false when the client cannot be written to.
async fn say(connection: &mut Connection<'_>, out: Vec<u8>) -> bool {
    connection.answer_begun = true;
    let stall = connection.worker.core.node.limits.write_stall.0;
    connection.deadline.set(stall);
    let Connection { io, deadline, .. } = connection;
    write(io, out, deadline).await.is_ok()
}
