package kvwire

import (
	"context"
	"fmt"
	"sync"
)

// Turns brings the requests of KvCommit into the order of their numbers, whenever they
// come. The zero value waits for number 1.
type Turns struct {
	mu   sync.Mutex
	last uint64        // number that was carried out
	err  error         // of that one, or of one before
	turn chan struct{} // closed at the next one; nil: nobody waits
}

// Take waits until all numbers before this one have had their turn, and calls do, while
// no other has its turn. Number 1 begins anew. After an error of do, the numbers behind
// get it too, and their do is not called.
func (t *Turns) Take(ctx context.Context, number uint64, do func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number == 1 {
		t.last, t.err = 0, nil
	}
	for number > t.last+1 && t.err == nil {
		if t.turn == nil {
			t.turn = make(chan struct{})
		}
		turn := t.turn
		t.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
		}
		t.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	switch {
	case t.err != nil:
		return t.err
	case number <= t.last:
		return fmt.Errorf("commit %d is behind commit %d", number, t.last)
	}
	t.last, t.err = number, do()
	if t.turn != nil {
		close(t.turn)
		t.turn = nil
	}
	return t.err
}
