// Package sgxs reads, writes and measures SGXS streams: enclave images in
// exactly the bytes that the processor measures. A stream is a plain sequence
// of records (type Record), with no header or trailer around them.
//
// # Canonical form
//
// A stream is canonical if it means one thing only:
//
//   - ECREATE (or UNSIZED) is the first record and the only one of its kind;
//   - EADD offsets are page aligned and rise;
//   - a TCS page has no permissions;
//   - each chunk lies in the page of the last EADD, aligned to 256 bytes, and
//     is there at most once; the order inside a page is free;
//   - reserved header bytes are zero.
//
// CanonicalReader, PageReader, Measure and Writer hold to all of that. The
// Fortanix tools, as they are, notice only the first chunk of a page when it
// repeats and do not look at reserved bytes; NewLenientReader reads as they
// do. Reader asks for nothing but whole records.
//
// # Measurement
//
// MRENCLAVE is the SHA-256 over the ECREATE, EADD and EEXTEND records as the
// processor forms them, that is, with reserved bytes zero. For a canonical
// sized stream without UNMEASRD records it is the SHA-256 of the file.
//
// # Memory
//
// Nothing in this package holds a stream, or a list that grows with it, in
// memory.
package sgxs
