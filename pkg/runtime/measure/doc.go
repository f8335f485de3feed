// Package measure is what an enclave says of its configuration: named leaves, the
// Merkle tree over them whose root stands in every certificate, the manifest of
// all leaves and the proof that one leaf is in the tree. It needs nothing but the
// standard library, and verifiers use it as well.
//
// The tree is that of RFC 6962, section 2.1, with SHA-256: a leaf's hash is
// SHA-256(0x00 ‖ input), a node's SHA-256(0x01 ‖ left ‖ right). Leaves are sorted
// by the bytes of their names, each name is there once, and the input of a leaf is
//
//	tag      "eos config leaf v1" and a zero byte
//	2        length of the name, big-endian
//	name
//	1        0: the leaf has no data; nothing follows
//	         1: it has; SHA-256(data), 32 bytes, follow
//
// So neither two leaves nor a leaf and a node can be taken for one another, and
// leaving data out is not the same as empty data.
package measure
