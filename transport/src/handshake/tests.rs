use super::*;
use proptest::prelude::*;

const OURS: Versions = Versions::new(309, 0x1234_5678_9abc_def0);

fn layout() -> Layout {
    Layout::new(&Limits { page_size: 4096, ..Limits::default() }).unwrap()
}

fn round_trip(message: &Message) {
    assert_eq!(Message::decode_frame(&message.encode()).as_ref(), Ok(message));
}

#[test]
fn message_when_encoded_and_decoded_is_the_same() {
    round_trip(&Message::Hello(Hello::new(OURS, "vkcube")));
    round_trip(&Message::Welcome(Welcome {
        versions: OURS,
        features: 5,
        layout: layout(),
        pid: 7,
        host: "vw-renderer 0.1".into(),
        place: None,
    }));
    let place = Place { offset: 4 << 20, ..Place::zeroed() };
    let limits = Limits { page_size: 4096, ..Limits::default() };
    round_trip(&Message::Welcome(Welcome {
        versions: OURS,
        features: feature::ATTACHED,
        layout: Layout::in_device(&limits).unwrap(),
        pid: 7,
        host: String::new(),
        place: Some(place),
    }));
    round_trip(&Message::Proof(OURS, [1, u64::MAX].into()));
    round_trip(&Message::Ready(OURS));
    round_trip(&Message::Refusal(Refusal { versions: OURS, versions_differ: true, message: "no".into() }));
    round_trip(&Message::Goodbye { versions: OURS, reason: "protocol violation".into() });
}

#[test]
fn text_when_it_has_control_characters_is_cleaned() {
    let frame = Message::Hello(Hello::new(OURS, "a\x1b[2Jb\nc")).encode();
    let Ok(Message::Hello(hello)) = Message::decode_frame(&frame) else { panic!("not a hello") };
    assert_eq!(hello.program, "a [2Jb c");
}

#[test]
fn text_when_it_is_long_is_cut_at_a_character() {
    let frame = Message::Goodbye { versions: OURS, reason: "ü".repeat(2000) }.encode();
    assert!(frame.len() <= PREAMBLE_SIZE + MAX_BODY);
    let Ok(Message::Goodbye { reason, .. }) = Message::decode_frame(&frame) else { panic!("not a goodbye") };
    assert_eq!(reason, "ü".repeat(MAX_TEXT / 2));
}

#[test]
fn message_when_it_is_not_ours_is_refused_with_what_came() {
    let http = b"GET / HTTP/1.1\r\nHost: somewhere.else\r\n";
    assert_eq!(Message::decode_frame(http), Err(MessageError::Magic(*b"GET / HT")));
    let mut long = Message::Hello(Hello::new(OURS, "x")).encode();
    long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode_frame(&long), Err(MessageError::TooLong(u32::MAX)));
    long[8..16].copy_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Message::decode_frame(&long), Err(MessageError::Kind(9)));
}

proptest! {
    #[test]
    fn message_when_bytes_are_random_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let _ = Message::decode_frame(&bytes);
    }

    #[test]
    fn message_when_body_is_random_never_panics(
        kind in 0u32..9, body in proptest::collection::vec(any::<u8>(), 0..4200), lie: Option<u32>,
    ) {
        let mut frame = frame(kind, OURS, &body, "");
        if let Some(length) = lie {
            frame[12..16].copy_from_slice(&length.to_le_bytes());
        }
        if let Ok(Message::Welcome(w)) = Message::decode_frame(&frame) {
            prop_assert!(w.layout.total_size() > 0);
        }
    }

    #[test]
    fn message_when_a_valid_one_is_damaged_never_panics(
        at in 0usize..200, xor in 1u8.., cut in 0usize..200, name in ".{0,300}",
    ) {
        let mut frame = Message::Hello(Hello::new(OURS, name)).encode();
        let at = at % frame.len();
        frame[at] ^= xor;
        frame.truncate(frame.len().saturating_sub(cut));
        let _ = Message::decode_frame(&frame);
    }

    #[test]
    fn hello_when_encoded_and_decoded_is_the_same(
        registry: u32, table_hash: u64, features: u64, pid: u32, page_size: u64,
        sizes: [u64; 5], program in "[a-zA-Z0-9 äöü._-]{0,100}",
        note in "[a-zA-Z0-9 äöü._-]{0,100}", ids in proptest::collection::vec(1u64.., 0..4),
    ) {
        let [ring_size, reply_size, arena_size, window_size, page] = sizes;
        let limits = Limits { ring_size, reply_size, arena_size, window_size, page_size: page };
        round_trip(&Message::Hello(Hello {
            versions: Versions::new(registry, table_hash), page_size, features, limits, pid, program, note,
            regions: ids.iter().map(|id| bytemuck::cast([*id, 0])).collect(),
        }));
    }
}
