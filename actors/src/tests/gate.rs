//! Many clients at a gate that closes and opens meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Actor, Context, Handler};
use orderer_core::types::ConfigSequence;
use tokio::runtime::Builder;

use super::*;
use crate::mailbox::{Gate, Order, OrderBatch};

const CLIENTS: usize = 8;
const BATCHES: usize = 200;
/// Room for a few of all clients' envelopes, so that some of them wait.
const ROOM: u32 = 16 << 10;

/// What the chain got: the client of each order, and its number among the client's.
type Ordered = Arc<Mutex<Vec<(usize, usize)>>>;

/// Acknowledges whatever it gets.
struct Acknowledges(Ordered);

impl Actor for Acknowledges {
    type Context = Context<Self>;
}

impl Handler<OrderBatch> for Acknowledges {
    type Result = ();

    fn handle(&mut self, batch: OrderBatch, _: &mut Context<Self>) {
        for Order { submission, reply } in batch.orders {
            let text = String::from_utf8_lossy(submission.envelope.payload()).into_owned();
            let (client, number) = text.split_once(' ').unwrap();
            self.0.lock().unwrap().push((client.parse().unwrap(), number.parse().unwrap()));
            reply.send(Ok(()));
        }
    }
}

/// Sends batches of different sizes, as a Broadcast stream does. Returns the numbers of those that were acknowledged.
async fn send_all(gate: Arc<Gate>, client: usize) -> Vec<usize> {
    let (mut next, mut waiting) = (0, Vec::new());
    for batch in 0..BATCHES {
        let announced = (batch % 3 > 0).then(|| gate.announce());
        // what is validated beside others
        tokio::task::yield_now().await;
        let mut orders = Vec::new();
        for _ in 0..=(batch * 7 + client) % 5 {
            let envelope = SignedEnvelope::from_parts(format!("{client} {next}").into_bytes().into(), Bytes::new());
            let is_config = (next + client).is_multiple_of(29);
            let submission = ValidatedEnvelope { envelope, validated_at: ConfigSequence(0), is_config };
            match gate.try_admit(submission) {
                Ok((order, answer)) => {
                    orders.push(order);
                    waiting.push((next, Some(answer)));
                }
                Err(submission) => {
                    gate.submit(std::mem::take(&mut orders));
                    waiting.push((next, gate.order(submission).await));
                }
            }
            next += 1;
        }
        gate.submit(orders);
        drop(announced);
    }
    let mut acknowledged = Vec::new();
    for (number, answer) in waiting {
        if let Some(answer) = answer
            && answer.await.is_ok()
        {
            acknowledged.push(number);
        }
    }
    acknowledged
}

#[actix::test]
async fn each_order_is_acknowledged_or_refused_and_each_client_keeps_its_order() {
    let (ordered, gate) = (Ordered::default(), Arc::new(Gate::new(ROOM)));
    let (chain, status) = (Acknowledges(Arc::clone(&ordered)).start(), StatusBoard::default().cell("chain"));
    gate.open(chain.clone().recipient(), Arc::clone(&status));
    let clients = Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
    let sending = (0..CLIENTS).map(|client| clients.spawn(send_all(Arc::clone(&gate), client))).collect::<Vec<_>>();
    let done = Arc::new(AtomicBool::new(false));
    let (closing, recipient, seen) = (Arc::clone(&gate), chain.recipient(), Arc::clone(&done));
    let closer = clients.spawn(async move {
        let mut passed = 0;
        while !seen.load(Ordering::Relaxed) {
            if closing.admitted_total() >= passed + 50 {
                closing.close();
                tokio::task::yield_now().await;
                closing.open(recipient.clone(), Arc::clone(&status));
                passed = closing.admitted_total();
            }
            tokio::task::yield_now().await;
        }
    });
    let mut acknowledged = Vec::new();
    for sending in sending {
        acknowledged.push(within("the answers", sending).await.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    within("the end", closer).await.unwrap();
    let is_empty = async {
        while (gate.bytes_in_flight(), gate.waiting()) != (0, 0) {
            tokio::task::yield_now().await;
        }
    };
    within("the room that is free again", is_empty).await;
    clients.shutdown_background();
    let ordered = ordered.lock().unwrap();
    for (client, acknowledged) in acknowledged.into_iter().enumerate() {
        let of_client = ordered.iter().filter(|(of, _)| *of == client).map(|(_, number)| *number);
        assert_eq!(of_client.collect::<Vec<_>>(), acknowledged, "client {client}");
    }
    assert!(!ordered.is_empty());
}
