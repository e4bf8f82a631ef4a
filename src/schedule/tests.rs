use super::*;

#[test]
fn scratch_memory_with_contexts_stays() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let workers =
        Workers { pool, max_workers: 1, backlog: Arc::new(Backlog::new(1)), kept: Mutex::default() };
    let contexts = |scratch: &Scratch| scratch.context_count();
    for _ in 0..3 {
        workers.with_scratch(|one| {
            workers.with_scratch(|two| {
                // A nested lane, which needs buffers alone.
                workers.with_scratch(|nested| drop(nested.take_vec()));
                (*one.context::<u8>(), *two.context::<u8>()) = (1, 1);
            });
        });
        let kept = workers.kept.lock().unwrap();
        assert_eq!(kept.iter().filter(|scratch| contexts(scratch) == 1).count(), 2);
        assert_eq!(kept.len(), 2);
    }
    workers.with_scratch(|scratch| assert_eq!(contexts(scratch), 1));
    let mut kept: Vec<_> = (0..2).map(|_| Scratch::default()).collect();
    kept[1].context::<u8>();
    assert_eq!(take_coldest(&mut kept).map(|scratch| contexts(&scratch)), Some(0));
    assert_eq!(take_warmest(&mut kept).map(|scratch| contexts(&scratch)), Some(1));
    assert!(take_warmest(&mut kept).is_none() && take_coldest(&mut kept).is_none());
}

#[test]
fn every_index_runs_once_and_the_first_failure_wins() {
    let workers = Workers::get(3).unwrap();
    let cancel = CancelToken::default();
    let work = Work { workers: Some(&workers), lanes: 3, max_lanes: 3, cancel: &cancel };
    let seen: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
    work.for_each(1000, &mut Scratch::default(), |index, _, _| {
        seen[index].fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .unwrap();
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    let failed = work.for_each(10, &mut Scratch::default(), |index, _, _| {
        if index < 3 { Ok(()) } else { Err(Error::Internal(index.to_string())) }
    });
    assert!(matches!(failed, Err(Error::Internal(_))));
}

#[test]
fn panics_and_cancellation_are_errors() {
    let cancel = CancelToken::default();
    let work = Work::serial(&cancel);
    let failed = work.for_each(1, &mut Scratch::default(), |_, _, _| panic!("no"));
    assert!(matches!(failed, Err(Error::Internal(text)) if text.contains("no")));
    cancel.cancel();
    assert!(matches!(work.for_each(1, &mut Scratch::default(), |_, _, _| Ok(())), Err(Error::Cancelled)));
}

#[test]
fn work_that_waits_for_work_ends() {
    let workers = Workers::get(2).unwrap();
    let (done, wait) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let (workers, done) = (Arc::clone(&workers), done.clone());
        Arc::clone(&workers).spawn(move |_| {
            run_foreign(|| {
                let (inner_done, inner_wait) = std::sync::mpsc::channel();
                let again = Arc::clone(&workers);
                workers.spawn(move |_| {
                    run_foreign(|| {
                        let (innermost_done, innermost_wait) = std::sync::mpsc::channel();
                        again.spawn(move |_| innermost_done.send(()).unwrap());
                        innermost_wait.recv().unwrap();
                    });
                    inner_done.send(()).unwrap();
                });
                inner_wait.recv().unwrap();
            });
            done.send(()).unwrap();
        });
    }
    for _ in 0..4 {
        wait.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn work_nests() {
    let workers = Workers::get(2).unwrap();
    let cancel = CancelToken::default();
    let work = Work { workers: Some(&workers), lanes: 2, max_lanes: 2, cancel: &cancel };
    let total = AtomicUsize::new(0);
    work.for_each(3, &mut Scratch::default(), |_, inner, scratch| {
        inner.for_each(100, scratch, |_, _, _| {
            total.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    })
    .unwrap();
    assert_eq!(total.load(Ordering::Relaxed), 300);
}
