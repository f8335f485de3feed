// Package kvstore is an enclave's store of keys and values, kept with a host that is
// believed nothing. The host sees how many records there are, how large they are, and
// when which of them is written; it sees neither keys, nor values, nor tables, and it
// cannot change, swap, withhold, or bring back any of them without being found out.
//
// # Records
//
// The master key gives all others by HKDF-SHA256, two for each table. Everything is
// encrypted by XAES-256-GCM, which is AES-256-GCM with long nonces: one half of them is
// random, another one for each opening of the store, and the other half counts.
//
//	key                     record                      additional data
//	v, name                 u8 1, version, nonce,       table, name, version
//	                        value, tag
//	l, commit's number      u8 1, nonce, what the       number
//	                        commit did, tag
//	n, node's number        u8 1, nonce, node, tag      number, session
//	c                       u8 1, nonce, checkpoint,    -
//	                        tag
//	file "root"             magic, store's id, commit's all before the nonce
//	                        number, nonce, end of the
//	                        chain, tag
//
// A name is HMAC-SHA-256-128 of the key, by a key of the table. A version is a number
// and the session: eight random bytes of each opening.
//
// # The index
//
// What is the newest version of each key, and which keys there are, is told by an
// index inside: a B+tree of all keys in their order. So a reader knows, before it asks
// the host, whether there is a key and which of its records is the right one; an
// absent key is not even asked for; and a scan misses nothing. Nodes lie in encrypted
// records, of which Options.CacheSize bounds the part that is in memory; a node is
// named by its parent so that no other, and no older, bytes pass for it.
//
// # Commits
//
// Writers that wait at the same time share a commit: one atomic batch of their records
// and one record of the log, which says what the commit did to the index and has the
// hash of the log before it. Some commits are with the host at a time, which carries them
// out in their order; a commit is acknowledged when the host has answered that it, and
// all before it, are on the disk. Now and then a checkpoint writes the nodes that have changed.
// Opening the store reads the last checkpoint and carries out the log since.
//
// The sealed root, a file, has the number of a commit and the hash of the log up to it.
// It follows the log by a second, or maxLag commits at most. At Open the log must lead
// to it, or from it, without a gap: a store that is older than its sealed root, or
// has another history, is refused. Beyond that there is no protection from a host that
// brings back an old state of everything, sealed root included, while the enclave is
// not running: see docs/state.md.
//
// # Memory
//
// The index takes Options.CacheSize at most (32 MiB unless told otherwise: about 300 000
// keys of 24 bytes), besides the nodes that one commit changes, and values that were read
// take Options.ValueCache (16 MiB); these are read again without the host. Each call holds a copy
// of the values that it writes or reads; a scan holds 256 KiB, or one larger value.
package kvstore
