use super::*;

fn standing(standing: Standing) -> (watch::Sender<Standing>, Leadership) {
    let (sender, receiver) = watch::channel(standing);
    (sender, Leadership(Some(receiver)))
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_term_that_is_too_short_is_waited_for_until_it_is_longer() {
    let (sender, leadership) = standing(Standing::Leading(soon(4)));
    let long = soon(14);
    let term = leadership.term(Duration::from_secs(5));
    tokio::pin!(term);
    assert!(timeout(Duration::from_millis(50), &mut term).await.is_err(), "4 s are less than 5");
    sender.send_replace(Standing::Leading(long));
    assert_eq!(term.await, Some(long));
    // Whoever was stopped finds that its time is over, though nobody has said so yet.
    let over = Instant::now();
    sender.send_replace(Standing::Leading(over));
    assert!(!leadership.is_leading());
    let term = leadership.term(Duration::from_secs(5));
    tokio::pin!(term);
    assert!(timeout(Duration::from_millis(50), &mut term).await.is_err());
    drop(sender);
    assert_eq!(term.await, None, "the election is over");
}

#[tokio::test]
async fn only_the_leader_has_a_term_and_who_has_lost_the_lease_may_still_report() {
    for other in [Standing::Unknown, Standing::Following] {
        let (_sender, leadership) = standing(other);
        assert_eq!(leadership.term(Duration::ZERO).await, None);
        assert!(!leadership.is_leading());
    }
    let (_sender, leadership) = standing(Standing::Ending(soon(10)));
    assert_eq!(leadership.term(Duration::ZERO).await, None);
    assert!(leadership.is_leading());
    assert!(Leadership::alone().is_leading());
    assert!(Leadership::alone().term(Duration::from_secs(60)).await.is_some());
}
