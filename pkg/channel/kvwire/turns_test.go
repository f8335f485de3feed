package kvwire

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// TestTurns: whatever the order in which they come, they are carried out in that of
// their numbers.
func TestTurns(t *testing.T) {
	var turns Turns
	for range 2 { // number 1 begins anew
		var got []uint64
		var all sync.WaitGroup
		const n = 50
		for i := n; i > 1; i-- {
			all.Go(func() {
				if err := turns.Take(t.Context(), uint64(i), func() error { got = append(got, uint64(i)); return nil }); err != nil {
					t.Error(i, err)
				}
			})
		}
		if err := turns.Take(t.Context(), 1, func() error { got = append(got, 1); return nil }); err != nil {
			t.Error(err)
		}
		all.Wait()
		if len(got) != n || !slices.IsSorted(got) {
			t.Error(got)
		}
		if err := turns.Take(t.Context(), n, func() error { t.Error("twice"); return nil }); err == nil {
			t.Error("a number is taken twice")
		}
		turns = Turns{}
	}
}

func TestTurnsFail(t *testing.T) {
	var turns Turns
	broken := errors.New("broken")
	behind := make(chan error)
	go func() {
		behind <- turns.Take(t.Context(), 2, func() error { t.Error("called behind an error"); return nil })
	}()
	if err := turns.Take(t.Context(), 1, func() error { return broken }); err != broken {
		t.Error(err)
	}
	if err := <-behind; err != broken {
		t.Error(err)
	}
	if err := turns.Take(t.Context(), 1, func() error { return nil }); err != nil {
		t.Errorf("anew: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns.Take(ctx, 3, func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits for one that never comes: %v", err)
	}
}
