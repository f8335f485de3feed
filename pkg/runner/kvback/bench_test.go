package kvback_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// The same work by Pebble alone and by the enclave's store above it, through all
// codecs: 32-byte keys, 160-byte values, synced.
const (
	benchKeys  = 100_000
	benchValue = 160
)

func benchKey(i int) []byte {
	k := make([]byte, 32)
	binary.BigEndian.PutUint64(k, uint64(i)*0x9e3779b97f4a7c15)
	return k
}

type benchStore struct {
	commits func() uint64
	put     func(k, v []byte) error
	get     func(k []byte) error
	batch   func(keys [][]byte, v []byte) error
}

func benchStores(b *testing.B) map[string]benchStore {
	raw, err := pebble.Open(filepath.Join(b.TempDir(), "raw"), kvback.BenchOptions())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { raw.Close() })
	host, err := kvback.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { host.Close() })
	ctx := context.Background()
	s, err := openOn(ctx, host, kvstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close(ctx) })
	t := s.Table("bench")
	return map[string]benchStore{
		"pebble": {
			put: func(k, v []byte) error { return raw.Set(k, v, pebble.Sync) },
			get: func(k []byte) error {
				v, c, err := raw.Get(k)
				if err != nil {
					return err
				}
				_ = append([]byte(nil), v...)
				return c.Close()
			},
			batch: func(keys [][]byte, v []byte) error {
				w := raw.NewBatch()
				defer w.Close()
				for _, k := range keys {
					if err := w.Set(k, v, nil); err != nil {
						return err
					}
				}
				return w.Commit(pebble.Sync)
			},
		},
		"kvstore": {
			commits: func() uint64 { return s.Stats().Commit },
			put:     func(k, v []byte) error { return t.Put(ctx, k, v) },
			get:     func(k []byte) error { _, err := t.Get(ctx, k); return err },
			batch: func(keys [][]byte, v []byte) error {
				ops := make([]kvstore.Op, len(keys))
				for i, k := range keys {
					ops[i] = kvstore.Op{Key: k, Value: v}
				}
				return t.Batch(ctx, ops)
			},
		},
	}
}

// cpu is the processors' time of this process, for machines that have other work, too.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkStore(b *testing.B) {
	stores := benchStores(b)
	value := make([]byte, benchValue)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	for _, name := range []string{"pebble", "kvstore"} {
		s := stores[name]
		for i := 0; i < benchKeys; i += 1000 {
			var keys [][]byte
			for j := range 1000 {
				keys = append(keys, benchKey(i+j))
			}
			if err := s.batch(keys, value); err != nil {
				b.Fatal(err)
			}
		}
	}
	var n atomic.Uint64
	// each runs a part beside the other's, since a disk's mood changes.
	each := func(part string, f func(b *testing.B, s benchStore)) {
		for _, name := range []string{"pebble", "kvstore"} {
			b.Run(part+"/"+name, func(b *testing.B) {
				before := cpu()
				f(b, stores[name])
				b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
	for _, writers := range []int{1, 16, 64} {
		each(fmt.Sprintf("put/writers=%d", writers), func(b *testing.B, s benchStore) {
			if s.commits != nil {
				before := s.commits()
				defer func() { b.ReportMetric(float64(b.N)/float64(s.commits()-before), "puts/commit") }()
			}
			put := func() error { return s.put(benchKey(int(n.Add(1)%benchKeys)), value) }
			if writers == 1 {
				for b.Loop() {
					if err := put(); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.SetParallelism(max(1, writers/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := put(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
	each("get", func(b *testing.B, s benchStore) {
		for b.Loop() {
			if err := s.get(benchKey(rand.IntN(benchKeys))); err != nil {
				b.Fatal(err)
			}
		}
	})
	each("get/readers=16", func(b *testing.B, s benchStore) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.get(benchKey(rand.IntN(benchKeys))); err != nil {
					b.Error(err)
				}
			}
		})
	})
	each("batch/1000", func(b *testing.B, s benchStore) {
		for b.Loop() {
			var keys [][]byte
			for range 1000 {
				keys = append(keys, benchKey(rand.IntN(benchKeys)))
			}
			if err := s.batch(keys, value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLarge is a store of 100 000 keys: to open it, to read all of it, and what it
// takes of the enclave's memory; and values of 16 KiB.
func BenchmarkLarge(b *testing.B) {
	ctx := context.Background()
	host, err := kvback.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { host.Close() })
	open := func(b *testing.B) *kvstore.Store {
		s, err := openOn(ctx, host, kvstore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	closing := func(b *testing.B, s *kvstore.Store) {
		if err := s.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
	s := open(b)
	value := make([]byte, benchValue)
	for i := 0; i < benchKeys; i += 1000 {
		var ops []kvstore.Op
		for j := range 1000 {
			ops = append(ops, kvstore.Op{Key: benchKey(i + j), Value: value})
		}
		if err := s.Table("bench").Batch(ctx, ops); err != nil {
			b.Fatal(err)
		}
	}
	closing(b, s)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			closing(b, open(b))
		}
	})
	s = open(b)
	defer closing(b, s)
	t := s.Table("bench")
	count := func(b *testing.B) {
		n := 0
		if err := t.Scan(ctx, nil, func(_, v []byte) error { n++; return nil }); err != nil || n != benchKeys {
			b.Fatal(n, err)
		}
	}
	for _, part := range []string{"scan first", "scan again"} {
		b.Run(part, func(b *testing.B) {
			for range b.N {
				count(b)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
			b.ReportMetric(float64(s.Stats().Memory)/(1<<20), "MiB")
		})
	}
	b.Run("quota", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.SetQuota(ctx, 1<<40, t); err != nil {
				b.Fatal(err)
			}
		}
	})
	big := make([]byte, 16<<10)
	var n atomic.Uint64
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("put 16 KiB/writers=%d", writers), func(b *testing.B) {
			b.SetBytes(int64(len(big)))
			b.SetParallelism(max(1, writers/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := t.Put(ctx, benchKey(int(n.Add(1)%1000)), big); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
