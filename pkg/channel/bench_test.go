package channel_test

import (
	"fmt"
	"testing"

	"github.com/enclaveos/eos/pkg/channel"
)

var sizes = []int{64, 16 << 10}

// BenchmarkItem is one frame in and out on one goroutine: what a ring costs when
// nobody contends.
func BenchmarkItem(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("bytes=%d/ring", n), func(b *testing.B) {
			_, p, c := newRing(b, 2<<20)
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				p.Put(buf, nil)
				p.Publish()
				c.Next()
				c.Copy(buf, 0)
				c.Advance()
				c.Release()
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/batch=32", n), func(b *testing.B) {
			_, p, c := newRing(b, 2<<20)
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			i := 0
			for b.Loop() {
				p.Put(buf, nil)
				if i++; i%32 == 0 {
					p.Publish()
					for c.Next() == channel.OK {
						c.Copy(buf, 0)
						c.Advance()
					}
					c.Release()
				}
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/gochan", n), func(b *testing.B) {
			ch := make(chan []byte, 64)
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				m := make([]byte, n) // a channel hands over a copy of its own
				copy(m, buf)
				ch <- m
				copy(buf, <-ch)
			}
		})
	}
}

// BenchmarkStream has a producer and a consumer on two goroutines, both as fast as
// they can.
func BenchmarkStream(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("bytes=%d/ring", n), func(b *testing.B) {
			_, p, c := newRing(b, 2<<20)
			pb, cb := bells()
			b.SetBytes(int64(n))
			total := b.N
			go func() {
				buf := make([]byte, n)
				for range total {
					p.Write(buf, pb)
				}
			}()
			buf := make([]byte, n)
			for range total {
				c.NextWait(cb)
				c.Copy(buf, 0)
				c.Advance()
				if c.Unreleased() > c.Capacity()/4 && c.Release() {
					cb.Ring()
				}
			}
			if c.Release() {
				cb.Ring()
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/gochan", n), func(b *testing.B) {
			ch := make(chan []byte, 64)
			b.SetBytes(int64(n))
			total := b.N
			go func() {
				buf := make([]byte, n)
				for range total {
					m := make([]byte, n)
					copy(m, buf)
					ch <- m
				}
			}()
			buf := make([]byte, n)
			for range total {
				copy(buf, <-ch)
			}
		})
	}
}

// BenchmarkRoundTrip is a frame there and a frame back, over two rings.
func BenchmarkRoundTrip(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("bytes=%d/ring", n), func(b *testing.B) {
			_, p1, c1 := newRing(b, 2<<20)
			_, p2, c2 := newRing(b, 2<<20)
			here, there := bells()
			total := b.N
			go func() {
				buf := make([]byte, n)
				for range total {
					c1.NextWait(there)
					c1.Copy(buf, 0)
					c1.Advance()
					c1.Release()
					p2.Write(buf, there)
				}
			}()
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for range total {
				p1.Write(buf, here)
				c2.NextWait(here)
				c2.Copy(buf, 0)
				c2.Advance()
				c2.Release()
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/gochan", n), func(b *testing.B) {
			x, y := make(chan []byte, 1), make(chan []byte, 1)
			total := b.N
			go func() {
				for range total {
					m := <-x
					r := make([]byte, n)
					copy(r, m)
					y <- r
				}
			}()
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for range total {
				m := make([]byte, n)
				copy(m, buf)
				x <- m
				copy(buf, <-y)
			}
		})
	}
}
