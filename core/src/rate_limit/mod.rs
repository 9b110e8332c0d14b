//! Rate limiting for Broadcast, per client and per organization.
//!
//! A client is a certificate, an organization an MSP; both count for the whole node, across channels. The total rate is
//! divided evenly among the active senders, and each sender may have an upper bound of its own. An envelope is checked
//! against the limits before its signature is verified, and is charged only when it is found valid. A sender therefore
//! cannot use up the rate of another by sending badly signed envelopes in its name.

mod gcra;
mod sender_table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::identity::Identity;
use crate::text::truncate_at_char_boundary;

pub use gcra::{GcraMeter, Rate};
pub use sender_table::RejectionRepeat;

use sender_table::{Sender, SenderTable};

/// Maximum length in bytes of a displayed name, because a certificate authority may issue subjects of any length.
const MAX_NAME_BYTES: usize = 512;

/// Rate limits, in envelopes a second. 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Limit of all senders together; divided among the active clients, and separately among the active organizations.
    pub all: u32,
    /// Upper bound of one client.
    pub client: u32,
    /// Upper bound of one organization.
    pub organization: u32,
    /// A sender that has sent nothing for this long is inactive and has no share.
    pub inactivity: Duration,
}

impl RateLimits {
    /// No limits.
    pub const NONE: Self = Self { all: 0, client: 0, organization: 0, inactivity: Duration::from_secs(5) };
}

/// Kind of sender that a rate applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// A client, which is a certificate.
    Client,
    /// An organization, which is an MSP.
    Organization,
}

/// The client that sent an envelope.
#[derive(Clone, Copy, Debug)]
pub struct SenderKey<'a> {
    /// MSP ID of the client.
    pub msp_id: &'a str,
    /// Subject of the client's certificate.
    pub subject: &'a str,
    /// Key that identifies the client's certificate.
    pub certificate: &'a [u8; 32],
}

impl<'a> From<&'a Identity> for SenderKey<'a> {
    fn from(identity: &'a Identity) -> Self {
        let (msp_id, certificate) = identity.key();
        Self { msp_id, subject: identity.subject(), certificate }
    }
}

/// A sender exceeds a rate limit. The client receives the text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{} '{name}' sends more than the {per_second:.1} envelopes a second that it may send now: try again in {} ms, or ask for \
     a higher rate (General.Throttling)",
    .whose.word(), .wait.as_millis().max(1)
)]
pub struct RateLimited {
    /// Kind of sender whose rate is used up.
    pub whose: LimitScope,
    /// Subject of the client's certificate, or the organization's MSP ID.
    pub name: String,
    /// MSP ID of the sender.
    pub organization: Arc<str>,
    /// Rate that the sender is allowed now, in envelopes a second.
    pub per_second: f64,
    /// Time after which the sender may send one more envelope.
    pub wait: Duration,
    /// How this rejection follows earlier ones of the sender. There may be thousands a second, too many to log each.
    pub recurrence: RejectionRepeat,
}

impl LimitScope {
    /// Returns the kind in English.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Organization => "organization",
        }
    }
}

/// Figures of a client or an organization, for display.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SenderStats {
    /// A client's subject or an organization's MSP ID; `others` stands for all senders beyond the table's capacity.
    pub name: String,
    /// MSP ID of the sender.
    pub organization: Arc<str>,
    /// Whether the sender is active and so has a share.
    pub active: bool,
    /// Rate that the sender is allowed now, in envelopes a second; `None` without a limit.
    pub allowed_per_second: Option<f64>,
    /// Number of envelopes accepted in the last whole second.
    pub sent_per_second: u64,
    /// Number of envelopes accepted since the sender was first recorded.
    pub accepted: u64,
    /// Number of envelopes rejected for exceeding a limit since then.
    pub refused: u64,
    /// Time of the last rejection, since the node's start.
    #[serde(skip)]
    pub refused_at: Option<Duration>,
}

/// Rate limiter of the node's Broadcast service, per client and per organization.
#[derive(Debug)]
pub struct RateLimiter {
    limits: RateLimits,
    clients: SenderTable<[u8; 32]>,
    organizations: SenderTable<Arc<str>>,
    swept_second: AtomicU64,
}

impl RateLimiter {
    /// Creates a limiter that knows no senders yet.
    pub fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            clients: SenderTable::new(limits.inactivity),
            organizations: SenderTable::new(limits.inactivity),
            swept_second: AtomicU64::new(0),
        }
    }

    /// Returns the configured limits.
    pub fn limits(&self) -> RateLimits {
        self.limits
    }

    /// Checks whether `client` may send one more envelope. Consumes nothing and records no sender, because the signature is
    /// not verified yet.
    ///
    /// `now` is the time since the node's start, here and below.
    pub fn check(&self, client: SenderKey<'_>, now: Duration) -> Result<(), RateLimited> {
        if let Some(rate) = self.rate_of_client()
            && let Some(sender) = self.clients.find(client.certificate)
            && let Some(wait) = sender.meter.wait(rate, now)
        {
            return Err(over(LimitScope::Client, &sender, rate, wait, now));
        }
        if let Some(rate) = self.rate_of_organization()
            && let Some(sender) = self.organizations.find(client.msp_id)
            && let Some(wait) = sender.meter.wait(rate, now)
        {
            return Err(over(LimitScope::Organization, &sender, rate, wait, now));
        }
        Ok(())
    }

    /// Starts to charge valid envelopes that were read together.
    pub fn begin_batch(&self, now: Duration) -> RateLimitBatch<'_> {
        self.evict_idle(now);
        RateLimitBatch { fairness: self, now, run: None }
    }

    /// Returns the clients, sorted by envelopes in the last second, most first.
    pub fn clients(&self, now: Duration) -> Vec<SenderStats> {
        self.evict_idle(now);
        shown(self.clients.all(now), self.rate_of_client(), now)
    }

    /// Returns the organizations, sorted in the same way.
    pub fn organizations(&self, now: Duration) -> Vec<SenderStats> {
        self.evict_idle(now);
        shown(self.organizations.all(now), self.rate_of_organization(), now)
    }

    fn rate_of_client(&self) -> Option<Rate> {
        slower(Rate::share(self.limits.all, self.clients.active()), Rate::share(self.limits.client, 1))
    }

    fn rate_of_organization(&self) -> Option<Rate> {
        slower(Rate::share(self.limits.all, self.organizations.active()), Rate::share(self.limits.organization, 1))
    }

    /// Records activity of `client` and its organization, and starts a run of envelopes of this client.
    fn begin_run(&self, client: SenderKey<'_>, now: Duration) -> SenderRun {
        let SenderKey { msp_id, subject, certificate } = client;
        SenderRun {
            certificate: *certificate,
            msp_id: msp_id.into(),
            client: self.clients.touch(certificate, now, || (*certificate, new_sender(subject, msp_id))),
            organization: self.organizations.touch(msp_id, now, || (msp_id.into(), new_sender(msp_id, msp_id))),
            accepted: 0,
        }
    }

    /// Removes old senders and recounts the active ones, at most once a second.
    fn evict_idle(&self, now: Duration) {
        if self.swept_second.load(Ordering::Relaxed) < now.as_secs()
            && self.swept_second.swap(now.as_secs(), Ordering::Relaxed) < now.as_secs()
        {
            self.clients.evict_idle(now);
            self.organizations.evict_idle(now);
        }
    }
}

/// Charges envelopes that were read together. Most of them are from one client, so the sender is looked up once for each run
/// of consecutive envelopes, and accepted envelopes are counted at the end of the run.
#[derive(Debug)]
pub struct RateLimitBatch<'a> {
    fairness: &'a RateLimiter,
    now: Duration,
    run: Option<SenderRun>,
}

/// Consecutive envelopes of one client.
#[derive(Debug)]
struct SenderRun {
    certificate: [u8; 32],
    msp_id: Box<str>,
    client: Arc<Sender>,
    organization: Arc<Sender>,
    accepted: u64,
}

impl RateLimitBatch<'_> {
    /// Charges a valid envelope of `client` to the client's rate and to its organization's, or to neither.
    pub fn charge(&mut self, client: SenderKey<'_>) -> Result<(), RateLimited> {
        let (fairness, now) = (self.fairness, self.now);
        let run = match self.run.take() {
            Some(run) if run.is_of(client) => run,
            before => {
                before.inspect(|run| run.count(now));
                fairness.begin_run(client, now)
            }
        };
        let run = self.run.insert(run);
        let rate = fairness.rate_of_client();
        if let Some(rate) = rate {
            run.client
                .meter
                .try_acquire(rate, now)
                .map_err(|wait| over(LimitScope::Client, &run.client, rate, wait, now))?;
        }
        if let Some(of_organization) = fairness.rate_of_organization()
            && let Err(wait) = run.organization.meter.try_acquire(of_organization, now)
        {
            if let Some(rate) = rate {
                run.client.meter.refund(rate);
            }
            return Err(over(LimitScope::Organization, &run.organization, of_organization, wait, now));
        }
        run.accepted += 1;
        Ok(())
    }
}

impl Drop for RateLimitBatch<'_> {
    fn drop(&mut self) {
        if let Some(run) = &self.run {
            run.count(self.now);
        }
    }
}

impl SenderRun {
    fn is_of(&self, client: SenderKey<'_>) -> bool {
        self.certificate == *client.certificate && *self.msp_id == *client.msp_id
    }

    fn count(&self, now: Duration) {
        for sender in [&self.client, &self.organization] {
            sender.accept(self.accepted, now);
        }
    }
}

/// Returns the stricter of two limits: the one with the longer period.
fn slower(one: Option<Rate>, other: Option<Rate>) -> Option<Rate> {
    one.max(other)
}

fn new_sender(name: &str, organization: &str) -> Sender {
    let (mut name, mut organization) = (name.to_owned(), organization.to_owned());
    truncate_at_char_boundary(&mut name, MAX_NAME_BYTES);
    truncate_at_char_boundary(&mut organization, MAX_NAME_BYTES);
    Sender::new(name, organization.into())
}

fn over(whose: LimitScope, sender: &Sender, rate: Rate, wait: Duration, now: Duration) -> RateLimited {
    RateLimited {
        whose,
        name: sender.name.clone(),
        organization: Arc::clone(&sender.organization),
        per_second: rate.per_second(),
        wait,
        recurrence: sender.refuse(now),
    }
}

fn shown(senders: Vec<(Arc<Sender>, bool)>, rate: Option<Rate>, now: Duration) -> Vec<SenderStats> {
    let show = |(sender, active): (Arc<Sender>, bool)| SenderStats {
        name: sender.name.clone(),
        organization: Arc::clone(&sender.organization),
        active,
        allowed_per_second: rate.map(Rate::per_second),
        sent_per_second: sender.meter.per_second(now),
        accepted: sender.accepted.load(Ordering::Relaxed),
        refused: sender.refused.load(Ordering::Relaxed),
        refused_at: sender.refused_at(),
    };
    let mut shown: Vec<SenderStats> = senders.into_iter().map(show).collect();
    shown.sort_by(|a, b| {
        let weight = |sender: &SenderStats| (sender.sent_per_second, sender.refused, sender.accepted);
        weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name))
    });
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: RateLimits = RateLimits::NONE;

    fn client(number: u8, msp_id: &str) -> ([u8; 32], String, String) {
        ([number; 32], format!("CN=User{number}"), msp_id.to_owned())
    }

    fn of((certificate, subject, msp_id): &([u8; 32], String, String)) -> SenderKey<'_> {
        SenderKey { msp_id, subject, certificate }
    }

    fn charge(fairness: &RateLimiter, sender: &([u8; 32], String, String), now: Duration) -> Result<(), RateLimited> {
        fairness.begin_batch(now).charge(of(sender))
    }

    /// Returns how many of 1,000 envelopes a second, sent evenly over these seconds, are accepted.
    fn accepted(
        fairness: &RateLimiter,
        senders: &[([u8; 32], String, String)],
        seconds: std::ops::Range<u64>,
    ) -> Vec<u64> {
        let mut accepted = vec![0; senders.len()];
        for ms in seconds.start * 1000..seconds.end * 1000 {
            for (sender, accepted) in senders.iter().zip(&mut accepted) {
                let now = Duration::from_millis(ms);
                let sent = fairness.check(of(sender), now).and_then(|()| charge(fairness, sender, now));
                *accepted += u64::from(sent.is_ok());
            }
        }
        accepted
    }

    #[test]
    fn without_limits_all_is_taken_and_counted() {
        let fairness = RateLimiter::new(NONE);
        assert_eq!(accepted(&fairness, &[client(1, "Org1MSP")], 1..3), [2000]);
        let now = Duration::from_secs(3);
        let (clients, organizations) = (fairness.clients(now), fairness.organizations(now));
        assert_eq!(
            (clients[0].name.as_str(), clients[0].accepted, clients[0].sent_per_second),
            ("CN=User1", 2000, 1000)
        );
        assert_eq!((organizations[0].name.as_str(), organizations[0].allowed_per_second), ("Org1MSP", None));
    }

    #[test]
    fn what_is_charged_together_counts_for_each_of_its_senders() {
        let fairness = RateLimiter::new(RateLimits { client: 3, ..NONE });
        let (one, two, elsewhere) = (client(1, "Org1MSP"), client(2, "Org1MSP"), client(1, "Org2MSP"));
        let now = Duration::from_secs(1);
        let mut tally = fairness.begin_batch(now);
        let sent = [&one, &one, &two, &one, &one, &two, &elsewhere].map(|sender| tally.charge(of(sender)).is_ok());
        // a client is the same sender in every organization that accepts its certificate
        assert_eq!(sent, [true, true, true, true, false, true, false]);
        drop(tally);
        let accepted = |shown: Vec<SenderStats>| shown.into_iter().map(|s| (s.accepted, s.refused)).collect::<Vec<_>>();
        assert_eq!(accepted(fairness.clients(now)), [(3, 2), (2, 0)]);
        assert_eq!(accepted(fairness.organizations(now)), [(5, 0), (0, 0)]);
        assert_eq!(fairness.clients(Duration::from_secs(2))[0].sent_per_second, 3);
    }

    #[test]
    fn what_all_may_send_is_divided_among_those_who_are_active() {
        let fairness = RateLimiter::new(RateLimits { all: 100, ..NONE });
        let (one, two) = (client(1, "Org1MSP"), client(2, "Org2MSP"));
        // one second's burst is accepted in addition
        assert_eq!(accepted(&fairness, std::slice::from_ref(&one), 0..10), [1099]);
        let both = accepted(&fairness, &[one.clone(), two], 100..110);
        assert!(both.iter().all(|accepted| (500..=600).contains(accepted)), "{both:?}");
        // the second client is inactive now, and its share goes to the first
        let alone = accepted(&fairness, &[one], 120..130);
        assert!((1050..=1100).contains(&alone[0]), "{alone:?}");
    }

    #[test]
    fn many_clients_of_one_organization_send_no_more_than_it_may() {
        let fairness = RateLimiter::new(RateLimits { organization: 50, ..NONE });
        let mut senders: Vec<_> = (1..=9).map(|number| client(number, "Org1MSP")).collect();
        senders.push(client(10, "Org2MSP"));
        let accepted = accepted(&fairness, &senders, 0..10);
        assert_eq!((accepted[..9].iter().sum::<u64>(), accepted[9]), (549, 549), "{accepted:?}");
    }

    #[test]
    fn what_an_organization_is_refused_costs_its_client_nothing() {
        let fairness = RateLimiter::new(RateLimits { client: 100, organization: 10, ..NONE });
        let (one, other) = (client(1, "Org1MSP"), client(2, "Org1MSP"));
        let now = Duration::from_secs(1);
        for _ in 0..10 {
            charge(&fairness, &one, now).unwrap();
        }
        for _ in 0..500 {
            let refused = charge(&fairness, &other, now).unwrap_err();
            assert_eq!((refused.whose, refused.name.as_str()), (LimitScope::Organization, "Org1MSP"));
        }
        assert_eq!(fairness.check(of(&other), now).map_err(|over| over.whose), Err(LimitScope::Organization));
        let later = Duration::from_secs(2);
        assert_eq!((0..20).filter(|_| charge(&fairness, &other, later).is_ok()).count(), 10);
    }

    #[test]
    fn a_look_makes_nobody_known_and_takes_nothing() {
        let fairness = RateLimiter::new(RateLimits { all: 10, ..NONE });
        for number in 0..100 {
            fairness.check(of(&client(number, "Org1MSP")), Duration::ZERO).unwrap();
        }
        assert_eq!(fairness.clients(Duration::ZERO), []);
        let one = client(1, "Org1MSP");
        assert_eq!((0..20).filter(|_| charge(&fairness, &one, Duration::ZERO).is_ok()).count(), 10);
    }

    #[test]
    fn a_refusal_says_who_how_much_and_how_long() {
        let fairness = RateLimiter::new(RateLimits { client: 4, ..NONE });
        let one = client(1, "Org1MSP");
        let at = Duration::from_secs;
        (0..4).for_each(|_| charge(&fairness, &one, at(1)).unwrap());
        let refused = fairness.check(of(&one), at(1)).unwrap_err();
        let text = "client 'CN=User1' sends more than the 4.0 envelopes a second that it may send now: \
                    try again in 250 ms, or ask for a higher rate (General.Throttling)";
        assert_eq!((refused.to_string().as_str(), refused.recurrence), (text, RejectionRepeat::First));
        assert_eq!(fairness.check(of(&one), at(1)).unwrap_err().recurrence, RejectionRepeat::Repeated);
        let shown = fairness.clients(at(1)).remove(0);
        assert_eq!((shown.refused, shown.refused_at, shown.allowed_per_second), (2, Some(at(1)), Some(4.0)));
        for (second, recurrence) in [
            (2, RejectionRepeat::FirstThisSecond),
            (61, RejectionRepeat::FirstThisSecond),
            (121, RejectionRepeat::First),
        ] {
            let refused = (0..9).find_map(|_| charge(&fairness, &one, at(second)).err()).unwrap();
            assert_eq!(refused.recurrence, recurrence);
        }
    }
}
