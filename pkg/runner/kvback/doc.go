// Package kvback is the host's store of what enclaves keep outside: Pebble for keys
// and values, and a file each for the few things that are read before there is a
// store. It sees ciphertext only and is believed nothing; its work is that what it
// has acknowledged is there after the next crash.
//
// A state directory:
//
//	lock           held while a process has the directory open; its process id
//	sealed/NAME    files, each replaced as a whole
//	store/         Pebble's
//
// A write is on the disk before it is acknowledged: Pebble syncs its log once for all
// writers that wait at the same time, and a file is written beside the old one,
// synced, and renamed over it. Commits with numbers (kvwire.Commit) come into the log in
// the order of these, several before it is synced. Keys in Pebble are the table's length
// in one byte, the table, and the enclave's key.
package kvback
