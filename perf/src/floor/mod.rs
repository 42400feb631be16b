//! The floor: the cheapest thing that can carry the same traffic.
//!
//! One thread and one io_uring. It accepts, connects to the upstream once for each client, and
//! forwards bytes both ways without looking at them: received into a pool of buffers by one
//! standing operation a socket, sent from where they lie. A full `submit_and_wait` does all that is
//! due in one system call. It parses nothing, so it can check nothing, and cannot share an upstream
//! connection among clients, because it does not know where a request ends.
//!
//! That makes it a lower bound where connections live long, which is what the design's target is
//! about. Where each request comes on a new connection it is none: it then connects twice for each
//! request, and a proxy that pools connects once.
//!
//! Bytes keep their order: a direction has one send under way, and what is received meanwhile
//! queues behind it, bounded. An end of one direction is passed on when all before it was sent.

mod ring;

use std::collections::VecDeque;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, SockRef, Socket, Type};

use crate::error::{Doing, Result};
use ring::{ACCEPT, Completion, Piece, Ring};

/// A direction with this many pieces waiting receives no more until all are sent. A few that the
/// kernel had already received may join them.
const PIECES_MAX: usize = 8;

/// `ENOBUFS`: the pool was empty; the operation ends and is asked for again.
const NO_BUFFERS: i32 = -105;

/// `ECANCELED`: as it was asked for.
const CANCELED: i32 = -125;

/// Relays between a listening port and an upstream, until the system refuses something.
pub struct Floor {
    ring: Ring,
    listener: TcpListener,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Directions that could not receive for lack of buffers.
    starved: Vec<(usize, usize)>,
}

/// A client's connection and the one made for it.
struct Pair {
    /// The client's, the upstream's.
    sockets: [Socket; 2],
    /// From the client, from the upstream.
    ways: [Way; 2],
    /// Operations of which a completion will still come.
    under_way: u32,
    /// Nothing more is done but wait for those.
    failed: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    waiting: VecDeque<Piece>,
    sending: Option<Piece>,
    receiving: bool,
    canceling: bool,
    /// There was no buffer to receive into.
    starved: bool,
    /// Its sender has sent its last byte.
    ended: bool,
    /// And the receiver was told so.
    closed: bool,
}

/// What an operation was, as its tag tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    Receive(usize),
    Send(usize),
    Cancel,
}

// === impl Floor ===

impl Floor {
    /// Listens on a loopback port that the system chooses.
    pub fn bind(upstream: SocketAddr) -> Result<Floor> {
        let listener =
            TcpListener::bind("127.0.0.1:0").doing(|| "binding the floor's port".into())?;
        // Accepted sockets inherit it.
        SockRef::from(&listener)
            .set_tcp_nodelay(true)
            .doing(|| "setting TCP_NODELAY".into())?;
        let ring = Ring::new(upstream.into())?;
        Ok(Floor {
            ring,
            listener,
            pairs: Vec::new(),
            free: Vec::new(),
            starved: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener
            .local_addr()
            .doing(|| "asking for the floor's port".into())
    }

    /// Relays for ever, or until the system refuses something.
    pub fn serve(mut self) -> Result<()> {
        let mut completions = Vec::new();
        self.ring.accept(self.listener.as_raw_fd())?;
        loop {
            self.ring.wait(&mut completions)?;
            for completion in completions.drain(..) {
                match completion.tag {
                    ACCEPT => self.accepted(completion)?,
                    _ => self.complete(completion)?,
                }
            }
            if !self.starved.is_empty() && self.ring.take_released() {
                self.feed_starved()?;
            }
        }
    }

    fn complete(&mut self, mut completion: Completion) -> Result<()> {
        let (index, step) = untag(completion.tag);
        let Some(pair) = self.pairs.get_mut(index).and_then(Option::as_mut) else {
            return Ok(()); // a pair is kept until its last completion: there is none
        };
        pair.under_way -= u32::from(!completion.more);
        let result = completion.result;
        match step {
            Step::Connect if result < 0 => pair.fail(),
            Step::Connect | Step::Cancel => {}
            Step::Receive(way) => {
                let piece = completion.piece.take();
                pair.received(way, result, piece, completion.more, &mut self.ring);
                if result == NO_BUFFERS {
                    self.starved.push((index, way));
                }
            }
            Step::Send(way) => pair.sent(way, result, &mut self.ring),
        }
        if !pair.failed {
            for way in 0..2 {
                pair.go_on(index, way, &mut self.ring)?;
            }
        }
        if pair.is_over() {
            self.close(index);
        }
        Ok(())
    }

    /// Lets those receive that had no buffer to receive into.
    fn feed_starved(&mut self) -> Result<()> {
        for (index, way) in std::mem::take(&mut self.starved) {
            if let Some(pair) = self.pairs[index].as_mut().filter(|pair| !pair.failed) {
                pair.ways[way].starved = false;
                pair.go_on(index, way, &mut self.ring)?;
            }
        }
        Ok(())
    }

    fn accepted(&mut self, completion: Completion) -> Result<()> {
        if !completion.more {
            self.ring.accept(self.listener.as_raw_fd())?;
        }
        let Some(client) = completion.accepted else {
            return Ok(()); // the client went away, or there are too many files: it will see
        };
        let Ok(upstream) = Socket::new(Domain::IPV4, Type::STREAM, None) else {
            return Ok(()); // too many files; the client sees its connection closed
        };
        upstream
            .set_tcp_nodelay(true)
            .doing(|| "setting TCP_NODELAY".into())?;
        let pair = Pair {
            sockets: [client, upstream],
            ways: [Way::default(), Way::default()],
            under_way: 1,
            failed: false,
        };
        let index = self.free.pop().unwrap_or(self.pairs.len());
        let upstream = pair.sockets[1].as_raw_fd();
        self.ring.connect(upstream, tag(index, Step::Connect))?;
        match self.pairs.get_mut(index) {
            Some(place) => *place = Some(pair),
            None => self.pairs.push(Some(pair)),
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        let Some(pair) = self.pairs[index].take() else {
            return;
        };
        for way in pair.ways {
            for piece in way.waiting.into_iter().chain(way.sending) {
                self.ring.release(piece);
            }
        }
        self.free.push(index);
    }
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

// === impl Pair ===

impl Pair {
    fn received(
        &mut self,
        way: usize,
        result: i32,
        piece: Option<Piece>,
        more: bool,
        ring: &mut Ring,
    ) {
        let it = &mut self.ways[way];
        it.receiving = more;
        it.canceling &= more;
        match piece {
            Some(piece) if result > 0 && !self.failed => it.waiting.push_back(piece),
            Some(piece) => ring.release(piece),
            None => {}
        }
        match result {
            0 => it.ended = true,
            NO_BUFFERS => it.starved = true,
            CANCELED => {}
            failed if failed < 0 => self.fail(),
            _ => {}
        }
    }

    fn sent(&mut self, way: usize, result: i32, ring: &mut Ring) {
        let it = &mut self.ways[way];
        let Some(mut piece) = it.sending.take() else {
            return; // one send is under way at a time, so there is one
        };
        if result > 0 && piece.advance(result as usize) {
            it.waiting.push_front(piece);
        } else {
            ring.release(piece);
        }
        if result < 0 {
            self.fail();
        }
    }

    /// Sends, receives, holds back or ends one direction, as its state asks for.
    fn go_on(&mut self, index: usize, way: usize, ring: &mut Ring) -> Result<()> {
        let [from, to] = match way {
            0 => [0, 1],
            _ => [1, 0],
        };
        let (from, to) = (&self.sockets[from], &self.sockets[to]);
        let it = &mut self.ways[way];
        if it.sending.is_none()
            && let Some(piece) = it.waiting.pop_front()
        {
            ring.send(to.as_raw_fd(), &piece, tag(index, Step::Send(way)))?;
            it.sending = Some(piece);
            self.under_way += 1;
        }
        let full = it.waiting.len() >= PIECES_MAX;
        let may_receive = !it.receiving && !it.ended && !it.starved;
        if may_receive && it.waiting.is_empty() {
            ring.receive(from.as_raw_fd(), tag(index, Step::Receive(way)))?;
            it.receiving = true;
            self.under_way += 1;
        } else if it.receiving && full && !it.canceling {
            let receive = tag(index, Step::Receive(way));
            ring.cancel(receive, tag(index, Step::Cancel))?;
            it.canceling = true;
            self.under_way += 1;
        }
        if it.ended && it.sending.is_none() && it.waiting.is_empty() && !it.closed {
            it.closed = true;
            // When the other side has already gone, there is nobody to be told.
            let _ = to.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Lets everything that is under way end.
    fn fail(&mut self) {
        self.failed = true;
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both); // one that is not connected has nothing to end
        }
    }

    fn is_over(&self) -> bool {
        self.under_way == 0 && (self.failed || self.ways.iter().all(|way| way.closed))
    }
}

// === impl Step ===

fn tag(index: usize, step: Step) -> u64 {
    let low = match step {
        Step::Connect => 1, // 0 is accepting, see `ACCEPT`
        Step::Cancel => 2,
        Step::Receive(way) => 4 + way as u64,
        Step::Send(way) => 6 + way as u64,
    };
    (index as u64) << 3 | low
}

fn untag(tag: u64) -> (usize, Step) {
    let step = match tag & 7 {
        1 => Step::Connect,
        low @ (4 | 5) => Step::Receive(low as usize - 4),
        low @ (6 | 7) => Step::Send(low as usize - 6),
        _ => Step::Cancel,
    };
    ((tag >> 3) as usize, step)
}
