// Package kvwire is the codec of the RPC methods by which an enclave keeps state
// outside: a store of keys and values, and a few files. What they carry is
// ciphertext and names that say nothing; both sides parse it, and neither believes
// the other. All numbers are little-endian; lengths are of what follows them.
//
//	method                  request                                       response
//	0x0200 KvPut            u16 table, u32 key, value                     -
//	0x0201 KvGet            u16 table, key                                value; status 1: absent
//	0x0202 KvDelete         u16 table, key                                - ; status 1: absent
//	0x0203 KvListKeys       u16 table, prefix                             u32 n, n × (u32 key)
//	0x0204 KvWriteBatch     u16 table, u32 n, n × (u8 op, u32 key,        -
//	                        and for a put u32 value)
//	0x0205 KvMultiGet       u16 table, u32 n, n × (u32 key)               u32 n, n × (u8 present,
//	                                                                      and if so u32 value)
//	0x0206 KvScan           u16 table, u32 limit, u32 start, end          u32 n, n × (u32 key, u32 value)
//	0x0207 KvDeleteRange    u16 table, u32 start, end                     -
//	0x0208 KvCommit         u64 number, then as KvWriteBatch              -
//	0x0210 StateGet         name                                          content; status 1: absent
//	0x0211 StatePut         u16 name, content                             -
//
// op is 0 for a put and 1 for a deletion. Methods 0x0200 to 0x0206 are those of
// Enclave OS Mini; the others are ours. The batches of KvCommit are carried out in the
// order of their numbers, from 1 on, so that several can be under way at a time and
// after a crash none is there without those before it; after one that has failed there
// are no more, until a number 1 begins anew. Ranges hold start and not end; an empty end
// is none. A batch is atomic, and every write is on the disk before its answer. An
// answer of KvListKeys, KvMultiGet and KvScan has at most MaxItems items; those of
// KvListKeys and KvScan end early where they would grow beyond MaxPayload, so who
// wants all asks again from behind the last key, until nothing comes.
package kvwire

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/wire"
)

// The methods.
const (
	Put         wire.Method = 0x0200
	Get         wire.Method = 0x0201
	Delete      wire.Method = 0x0202
	ListKeys    wire.Method = 0x0203
	WriteBatch  wire.Method = 0x0204
	MultiGet    wire.Method = 0x0205
	Scan        wire.Method = 0x0206
	DeleteRange wire.Method = 0x0207
	Commit      wire.Method = 0x0208
	StateGet    wire.Method = 0x0210
	StatePut    wire.Method = 0x0211
)

// StatusAbsent is the status of an answer that there is no such key or file.
const StatusAbsent int32 = 1

// Limits, in bytes but for MaxItems.
const (
	MaxTable   = 255
	MaxKey     = 1024
	MaxValue   = 1<<20 + 4<<10 // 1 MiB and what sealing adds
	MaxItems   = 10_000        // keys or pairs of an answer, and keys of a KvMultiGet
	MaxName    = 32            // of a file
	MaxFile    = 1 << 20
	MaxPayload = 1<<20 + 64<<10
)

// Error says why a payload is refused.
type Error struct {
	Method   wire.Method
	Response bool
	What     string
}

func (e *Error) Error() string {
	side := "request"
	if e.Response {
		side = "response"
	}
	return fmt.Sprintf("%s %#04x: %s", side, uint16(e.Method), e.What)
}

// GoodName reports whether a file may have this name: 1 to MaxName of a-z, 0-9 and
// "-", not first.
func GoodName(name string) bool {
	if len(name) == 0 || len(name) > MaxName || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
