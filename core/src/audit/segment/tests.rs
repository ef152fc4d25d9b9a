use super::*;

fn batch(records: &[&[u8]], first: u64, previous: &[u8; 32]) -> (Vec<u8>, [u8; 32]) {
    let mut builder = BatchBuilder::default();
    for record in records {
        builder.push(record);
    }
    let (bytes, digest) = builder.finish(first, previous);
    (bytes.to_vec(), digest)
}

fn read_batch(bytes: &[u8]) -> Result<(BatchHeader, [u8; 32]), Fault> {
    let header = BatchHeader::decode(bytes.first_chunk().ok_or(Fault::Length)?)?;
    check_batch(&header, bytes).map(|digest| (header, digest))
}

#[test]
fn a_segment_header_reads_back_and_no_byte_of_it_may_change() {
    let header = SegmentHeader {
        segment: 7,
        first: 1 << 40,
        previous: [9; 32],
    };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    let bytes: [u8; SEGMENT_HEADER_BYTES] = bytes.try_into().unwrap();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    for at in 0..bytes.len() {
        let mut changed = bytes;
        changed[at] ^= 1;
        let expected = if at < 12 { Fault::Header } else { Fault::Checksum };
        assert_eq!(SegmentHeader::decode(&changed), Err(expected), "byte {at}");
    }
}

#[test]
fn the_layout_is_the_drawn_one() {
    let (bytes, digest) = batch(&[b"{}", b"{\"a\":1}"], 5, &[3; 32]);
    assert_eq!(bytes[..4], 17_u32.to_le_bytes());
    assert_eq!(bytes[4..8], 2_u32.to_le_bytes());
    assert_eq!(bytes[8..16], 5_u64.to_le_bytes());
    assert_eq!(bytes[16..48], [3; 32]);
    assert_eq!(bytes[48..52], crc32fast::hash(&bytes[..48]).to_le_bytes());
    assert_eq!(bytes[52..69], *b"\x02\0\0\0{}\x07\0\0\0{\"a\":1}");
    assert_eq!(bytes[69..], crc32fast::hash(&bytes[..69]).to_le_bytes());
    assert_eq!(digest, crypto::sha256(&bytes));
    assert_eq!(bytes.len(), BATCH_HEADER_BYTES + 17 + BATCH_TRAILER_BYTES);
}

#[test]
fn a_batch_reads_back_and_no_byte_of_it_may_change() {
    let (bytes, digest) = batch(&[b"{}", b"", b"{\"a\":1}"], 5, &[3; 32]);
    let (header, read) = read_batch(&bytes).unwrap();
    assert_eq!((header.count, header.first, header.previous), (3, 5, [3; 32]));
    assert_eq!(read, digest);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        assert_eq!(read_batch(&changed), Err(Fault::Checksum), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(read_batch(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn counts_that_contradict_the_payload_are_refused_in_spite_of_good_checksums() {
    let whole = |length: u32, count: u32, payload: &[u8]| {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 40]);
        push_checksum(&mut bytes, 0);
        bytes.extend_from_slice(payload);
        push_checksum(&mut bytes, 0);
        read_batch(&bytes).map(|_| ())
    };
    let two = b"\x01\0\0\0a\x01\0\0\0b";
    assert_eq!(whole(10, 2, two), Ok(()));
    for (length, count, payload) in [
        (10, 0, two.as_slice()),
        (10, 1, two),
        (10, 3, two),
        (9, 2, two),
        (11, 2, two),
        (10, 2, b"\x01\0\0\0a\x02\0\0\0b"),
        (10, 2, b"\x01\0\0\0a\xff\xff\xff\xffb"),
        (0, 1, b""),
        (u32::MAX, 2, two),
    ] {
        assert_eq!(whole(length, count, payload), Err(Fault::Length), "{length} {count}");
    }
}

#[test]
fn an_emptied_builder_starts_anew() {
    let mut builder = BatchBuilder::default();
    builder.push(b"old");
    builder.finish(0, &GENESIS);
    builder.clear();
    assert_eq!(builder.count(), 0);
    assert_eq!(builder.payload_bytes_with(b"abc"), 7);
    builder.push(b"new");
    let (bytes, _) = builder.finish(1, &[1; 32]);
    assert_eq!(bytes, batch(&[b"new"], 1, &[1; 32]).0);
}
