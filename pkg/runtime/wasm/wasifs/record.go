package wasifs

import (
	"encoding/binary"
	"errors"
	"io/fs"
)

// The table's keys:
//
//	i ‖ inode                   a node, as a record below
//	d ‖ parent inode ‖ name     a directory entry: the node's inode, 8 bytes
//	b ‖ inode ‖ index           a block of a file, index u32; absent: zeros
//	o ‖ inode                   a node that has no name any more, until it is gone
//
// Inodes are u64 and everything is big-endian, so that keys are in order.
const (
	keyNode   = 'i'
	keyEntry  = 'd'
	keyBlock  = 'b'
	keyOrphan = 'o'
)

func nodeKey(ino uint64) []byte   { return binary.BigEndian.AppendUint64([]byte{keyNode}, ino) }
func orphanKey(ino uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyOrphan}, ino) }
func entryKey(parent uint64, name string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{keyEntry}, parent), name...)
}

func blockKey(ino uint64, index uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{keyBlock}, ino), index)
}

// record is a node:
//
//	0   1  version, 1
//	1   1  kind: 1 file, 2 directory
//	2   4  permission bits
//	6   8  size of a file
//	14  8  modification, nanoseconds since 1970
//	22  8  access, likewise
type record struct {
	dir          bool
	perm         uint32
	size         int64
	mtime, atime int64
}

const (
	recordSize    = 30
	recordVersion = 1
	kindFile      = 1
	kindDir       = 2
)

var errRecord = errors.New("wasifs: a node's record is malformed")

func (r record) appendBinary(b []byte) []byte {
	kind := byte(kindFile)
	if r.dir {
		kind = kindDir
	}
	b = binary.BigEndian.AppendUint32(append(b, recordVersion, kind), r.perm)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = binary.BigEndian.AppendUint64(b, uint64(r.mtime))
	return binary.BigEndian.AppendUint64(b, uint64(r.atime))
}

func parseRecord(b []byte) (record, error) {
	if len(b) != recordSize || b[0] != recordVersion || b[1] != kindFile && b[1] != kindDir {
		return record{}, errRecord
	}
	r := record{
		dir:   b[1] == kindDir,
		perm:  binary.BigEndian.Uint32(b[2:]),
		size:  int64(binary.BigEndian.Uint64(b[6:])),
		mtime: int64(binary.BigEndian.Uint64(b[14:])),
		atime: int64(binary.BigEndian.Uint64(b[22:])),
	}
	if r.perm > uint32(fs.ModePerm) || r.size < 0 || r.size > MaxFile || r.dir && r.size != 0 {
		return record{}, errRecord
	}
	return r, nil
}
