package ratls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
)

// Each connection has its own key and quote; the leaves are made ahead, and no faster
// than the rate.
func TestPerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const rate, burst = 10, 5
		a := w.attester(t, func(c *ratls.AttesterConfig) {
			c.Leaf, c.QuotesPerSecond, c.Burst = ratls.LeafUse{PerConnection: true}, rate, burst
		})
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { a.Run(ctx) })
		begin := time.Now()
		seen := make(map[string]bool)
		const n = 40
		for range n {
			leaf := leafFor(t, a, "localhost")
			seen[string(leaf.RawSubjectPublicKeyInfo)] = true
			if ratls.QuoteTime(leaf.NotBefore) != ratls.QuoteTime(time.Now()) && time.Since(leaf.NotBefore) > 5*time.Minute {
				t.Errorf("an old leaf: %v", leaf.NotBefore)
			}
			if _, err := ratls.VerifyCertificate(t.Context(), []*x509.Certificate{leaf}, w.Trust(enclaveName)); err != nil {
				t.Error(err)
			}
			if valueOf(leaf, "2.23.133.5.4.9") != nil {
				t.Error("a second quote in a leaf for one connection")
			}
		}
		if len(seen) != n {
			t.Errorf("%d keys for %d connections", len(seen), n)
		}
		if limit := int64(burst + rate*time.Since(begin).Seconds() + 1); w.quoter.n.Load() > limit {
			t.Errorf("%d quotes in %v, at most %d should be", w.quoter.n.Load(), time.Since(begin), limit)
		}

		// What has been waiting for too long is not handed out.
		time.Sleep(time.Hour)
		if leaf := leafFor(t, a, "localhost"); time.Since(leaf.NotBefore) > 5*time.Minute {
			t.Errorf("a leaf of %v ago", time.Since(leaf.NotBefore))
		}
		// An app's leaves are its own.
		if leaf := leafFor(t, a, "app.example"); leaf.Subject.CommonName != "app" {
			t.Errorf("the app got %v", leaf.Subject)
		}
		// After a change, none of the old ones is.
		changed := platformSubject()
		changed.Extensions[0].Value = bytes.Repeat([]byte{9}, 32)
		if err := a.SetSubjects(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		if leaf := leafFor(t, a, "app.example"); valueOf(leaf, "1.3.6.1.4.1.65230.1.1")[0] != 9 {
			t.Error("an old leaf after the change")
		}
		cancel()
		ended.Wait()
	})
}

// A flood of connects that nobody can serve leaves the quoting service alone.
func TestFloodMintsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.attester(t, func(c *ratls.AttesterConfig) {
			c.Leaf, c.QuotesPerSecond, c.Burst = ratls.LeafUse{PerConnection: true}, 1, 1
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { a.Run(ctx) })
		begin := time.Now()
		var served atomic.Int64
		for i := range 200 {
			all.Go(func() {
				if _, err := shake(t, a, &tls.Config{ServerName: strings.Repeat("y", i%50+1)}); err == nil {
					served.Add(1)
				}
			})
		}
		time.Sleep(21 * time.Second) // every handshake is over
		if limit := int64(time.Since(begin).Seconds()) + 2; w.quoter.n.Load() > limit {
			t.Errorf("%d quotes in %v", w.quoter.n.Load(), time.Since(begin))
		}
		if served.Load() == 0 || served.Load() > 25 {
			t.Errorf("%d were served", served.Load())
		}
		cancel()
		all.Wait()
	})
}

// A shared leaf is replaced when its time is over, by Run, and never by a handshake.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.attester(t, func(c *ratls.AttesterConfig) {
			c.Leaf, c.Evidence = ratls.LeafUse{Lifetime: 10 * time.Minute}, ratls.EvidenceBySNI
		})
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { a.Run(ctx) })
		first, plain := leafFor(t, a, "localhost"), leafFor(t, a, "session.localhost")
		time.Sleep(8 * time.Minute)
		if !leafFor(t, a, "localhost").Equal(first) {
			t.Error("a new leaf too soon")
		}
		time.Sleep(3 * time.Minute)
		second := leafFor(t, a, "localhost")
		if second.Equal(first) || bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("no new leaf, or no new key")
		}
		if renewed := leafFor(t, a, "session.localhost"); renewed.Equal(plain) || !bytes.Equal(renewed.RawSubjectPublicKeyInfo, plain.RawSubjectPublicKeyInfo) {
			t.Error("without a quote there is to be a new leaf with the old key")
		}
		// When there are no quotes any more the last leaf is used up, and then nobody gets one.
		down := func(context.Context) error { return errors.New("no quotes") }
		w.quoter.before.Store(&down)
		time.Sleep(12 * time.Hour)
		if leafFor(t, a, "localhost").NotAfter.Before(time.Now()) {
			t.Error("an expired leaf")
		}
		time.Sleep(13 * time.Hour)
		if _, err := shake(t, a, &tls.Config{ServerName: "localhost"}); err == nil {
			t.Error("an expired leaf")
		}
		w.quoter.before.Store(nil)
		time.Sleep(time.Minute)
		leafFor(t, a, "localhost")
		cancel()
		ended.Wait()
	})
}

// From the moment of a change on, the old claims are not given to anybody: those who come
// while the new leaf is made wait for it.
func TestNoOldLeafAfterChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.attester(t, nil)
		app := leafFor(t, a, "app.example")
		slow := func(context.Context) error { time.Sleep(3 * time.Second); return nil }
		w.quoter.before.Store(&slow)
		changed := platformSubject()
		changed.Extensions[0].Value = bytes.Repeat([]byte{9}, 32)
		var set sync.WaitGroup
		set.Go(func() {
			if err := a.SetSubjects(t.Context(), changed, appSubject()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		if leaf := leafFor(t, a, "localhost"); valueOf(leaf, "1.3.6.1.4.1.65230.1.1")[0] != 9 {
			t.Error("the old leaf, in the middle of the change")
		}
		if time.Since(begin) < 3*time.Second {
			t.Error("the new leaf was there before its quotes")
		}
		if !leafFor(t, a, "app.example").Equal(app) {
			t.Error("the app, which did not change, has a new leaf")
		}
		set.Wait()

		// A change that fails leaves nobody in, and heals when quotes come again.
		down := func(context.Context) error { return errors.New("no quotes") }
		w.quoter.before.Store(&down)
		changed.Extensions[0].Value = bytes.Repeat([]byte{10}, 32)
		if err := a.SetSubjects(t.Context(), changed, appSubject()); err == nil {
			t.Error("SetSubjects says nothing of quotes that fail")
		}
		if _, err := shake(t, a, &tls.Config{ServerName: "localhost"}); err == nil || !strings.Contains(err.Error(), "no quotes") {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { a.Run(ctx) })
		w.quoter.before.Store(nil)
		time.Sleep(time.Minute)
		if leaf := leafFor(t, a, "localhost"); valueOf(leaf, "1.3.6.1.4.1.65230.1.1")[0] != 10 {
			t.Error("it did not heal")
		}
		cancel()
		ended.Wait()
	})
}

// Who waits for a leaf whose claims change before it is made gets the next one.
func TestChangeWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := ratls.NewAttester(ratls.AttesterConfig{Quoter: w.quoter, CA: w.ca})
		if err != nil {
			t.Fatal(err)
		}
		slow := func(context.Context) error { time.Sleep(3 * time.Second); return nil }
		w.quoter.before.Store(&slow)
		var all sync.WaitGroup
		for i := range byte(3) {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				s := platformSubject()
				s.Extensions[0].Value = bytes.Repeat([]byte{i + 1}, 32)
				if err := a.SetSubjects(t.Context(), s); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		if leaf := leafFor(t, a, "localhost"); valueOf(leaf, "1.3.6.1.4.1.65230.1.1")[0] != 3 {
			t.Errorf("it got leaf %d", valueOf(leaf, "1.3.6.1.4.1.65230.1.1")[0])
		}
		all.Wait()
	})
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	a := w.attester(t, nil)
	next, err := w.root.NewIntermediary("the next one", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old := leafFor(t, a, "localhost")
	if err := a.SetCA(next); err != nil {
		t.Fatal(err)
	}
	if !leafFor(t, a, "localhost").Equal(old) {
		t.Error("a new leaf before the subjects know of the CA")
	}
	s := platformSubject()
	hash := next.Hash()
	s.Extensions[0].Value = hash[:]
	if err := a.SetSubjects(t.Context(), s, appSubject()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "app.example"} {
		state, err := shake(t, a, &tls.Config{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if !state.PeerCertificates[1].Equal(next.Certificate()) || state.PeerCertificates[0].CheckSignatureFrom(next.Certificate()) != nil {
			t.Errorf("%s: still the old CA", name)
		}
		if state.PeerCertificates[0].NotAfter.After(next.Certificate().NotAfter) {
			t.Errorf("%s: the leaf outlives its CA", name)
		}
	}
}
