use super::value::Value;
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn value_of<'a>(topic: InternalTopic, key: &'a [u8], value: &'a [u8]) -> (i16, Struct<'a>) {
    match topic.decode(Some(key), Some(value)).value {
        Ok(Part::Value { version, data }) => (version, data),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_version_of_an_offset_commit_has_its_fields() {
    let key = bytes("000100016700017400000003");
    let Ok(Part::Key { key_type: 1, data }) = InternalTopic::ConsumerOffsets.decode(Some(&key), None).key else {
        panic!("{key:?}")
    };
    assert_eq!((data.text("group"), data.text("topic"), data.int("partition")), (Some("g"), Some("t"), Some(3)));
    for (hex, epoch, expires, has_id) in [
        ("0000000000000000002a00016d0000018bcfe56800", None, None, false),
        ("0001000000000000002a00016d0000018bcfe568000000018bf3a8ae00", None, Some(1_700_600_000_000), false),
        ("0002000000000000002a00016d0000018bcfe56800", None, None, false),
        ("0003000000000000002a0000000700016d0000018bcfe56800", Some(7), None, false),
        ("0004000000000000002a00000007026d0000018bcfe56800010010af695b9c85dd40bd84de75f39c9d116f", Some(7), None, true),
        ("0004000000000000002a00000007026d0000018bcfe5680000", Some(7), None, false),
    ] {
        let value = bytes(hex);
        let (version, data) = value_of(InternalTopic::ConsumerOffsets, &key, &value);
        assert_eq!(version, i16::from(value[1]));
        assert_eq!((data.int("offset"), data.text("metadata")), (Some(42), Some("m")), "{hex}");
        assert_eq!(data.int("commitTimestamp"), Some(1_700_000_000_000), "{hex}");
        assert_eq!((data.int("leaderEpoch"), data.int("expireTimestamp")), (epoch, expires), "{hex}");
        assert_eq!(data.uuid("topicId").is_some(), has_id, "{hex}");
    }
}

/// A group of that protocol type with one member, who has these as subscription and assignment.
fn group(protocol_type: &str, subscription: &str, assignment: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let with_length = |hex: &str| [&(hex.len() as u32 / 2).to_be_bytes()[..], &bytes(hex)].concat();
    [
        &bytes("0003")[..],
        &text(protocol_type),
        &bytes("00000002000572616e676500036d2d310000018bcfe5680000000001"),
        &text("m-1"),
        &bytes("ffff00016300022f68000493e00000afc8"),
        &with_length(subscription),
        &with_length(assignment),
    ]
    .concat()
}

#[test]
fn the_consumer_protocol_is_decoded_in_groups_of_consumers() {
    let key = bytes("0002000167");
    let subscription = "00010000000100066f726465727300000000ffffffff";
    let assignment = "00000000000100066f72646572730000000100000002ffffffff";
    // In the second one, the version of the subscription is unknown, and the assignment empty.
    for (protocol_type, subscription, assignment, decoded) in [
        ("consumer", "00010000000100066f7264657273ffffffff00000000", assignment, true),
        ("consumer", "0009", "", false),
        ("connect", subscription, assignment, false),
    ] {
        let value = group(protocol_type, subscription, assignment);
        let (_, data) = value_of(InternalTopic::ConsumerOffsets, &key, &value);
        let Some([Value::Struct(member)]) = data.list("members") else { panic!("{data:?}") };
        assert_eq!((member.text("memberId"), member.field("groupInstanceId")), (Some("m-1"), Some(&Value::Null)));
        let parts = [(subscription, "subscription"), (assignment, "assignment")];
        if decoded {
            let part = |name| match member.field(name) {
                Some(Value::Struct(part)) => part,
                other => panic!("{other:?}"),
            };
            assert_eq!(part("subscription").list("topics"), Some(&[Value::Text("orders")][..]));
            assert_eq!(part("subscription").list("ownedPartitions"), Some(&[][..]));
            let Some([Value::Struct(orders)]) = part("assignment").list("assignedPartitions") else { panic!() };
            assert_eq!((orders.text("topic"), orders.ints("partitions")), (Some("orders"), Some(vec![2])));
            assert_eq!(part("assignment").field("userData"), Some(&Value::Null));
        } else {
            for (hex, name) in parts {
                assert_eq!(member.field(name), Some(&Value::Bytes(&bytes(hex))));
            }
        }
    }
}

#[test]
fn a_struct_that_may_be_null_is_null_or_there() {
    let key = bytes("000500016700016d");
    for (tag, timeout) in [("000100", None), ("0007010000afc80100", Some(45_000))] {
        let value = bytes(&format!("00000000010101 00ffffffff0001{tag}").replace(' ', ""));
        let (_, data) = value_of(InternalTopic::ConsumerOffsets, &key, &value);
        match data.field("classicMemberMetadata") {
            Some(Value::Null) => assert_eq!(timeout, None),
            Some(Value::Struct(it)) => assert_eq!(it.int("sessionTimeoutMs"), timeout),
            other => panic!("{other:?}"),
        }
    }
    let key = bytes("001300016700016d");
    for (endpoint, port) in [("ff", None), ("0102611f9000", Some(8080))] {
        let value = bytes(&format!("000000000101ffffffff0000000101{endpoint}0100"));
        let (_, data) = value_of(InternalTopic::ConsumerOffsets, &key, &value);
        match data.field("userEndpoint") {
            Some(Value::Null) => assert_eq!(port, None),
            Some(Value::Struct(it)) => assert_eq!((it.text("host"), it.int("port")), (Some("a"), port)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn more_than_the_limit_is_not_decoded() {
    let key = bytes("0002000167");
    let value = vec![0; schema::SIZE_MAX + 3];
    let error = InternalTopic::ConsumerOffsets.decode(Some(&key), Some(&value)).value.unwrap_err();
    assert_eq!(error.to_string(), "a size of more than 4 MiB is not supported");
}

#[test]
fn the_smallest_elements_take_a_bounded_amount_of_memory() {
    // 30 000 tasks of a streams group's member, three bytes each: the smallest elements with the most fields.
    let value = bytes(&format!("0000000000010000000100b1ea01{}010101010100", "010100".repeat(30_000)));
    let key = bytes("001600016700016d");
    let (_, data) = value_of(InternalTopic::ConsumerOffsets, &key, &value);
    assert_eq!(data.list("activeTasks").map(<[_]>::len), Some(30_000));
    let memory = data.memory();
    assert!(memory > 30_000 && memory <= 60 * value.len(), "{memory} bytes for {}", value.len());
}
