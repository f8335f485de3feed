// Package seal is what an enclave remembers: one sealed configuration, and the store
// whose keys it has.
//
// The configuration is a file of the host's, sealed by pkg/enclave for MRENCLAVE: only
// the very same image on the same machine opens it. What it holds is a master key,
// made by the processor's random numbers at the first start, and named sections: CA,
// operator, apps, what modules have. It is replaced as a whole.
//
// A first start is one without the file and without records in the store. A file that
// does not open is an error that says why, and so is a file that is missing while there
// are records: never a new beginning that nobody has asked for. Each replacement has a
// higher number, which the store keeps, too, so that an older file beside a newer store
// is found out.
//
// The sealed text, numbers little-endian:
//
//	u32  version, 1
//	u64  generation
//	32   master key
//	u32  sections; each, in ascending order of names:
//	     u8 length, name, u32 length, content
package seal
