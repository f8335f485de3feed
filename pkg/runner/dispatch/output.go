package dispatch

import (
	"fmt"
	"io"
	"sync"
)

// maxQueued is how many bytes may wait for a slow reader of stdout or stderr
// before the threads that write more have to wait, too.
const maxQueued = 1 << 20

// output is stdout or stderr. Messages are written in the order in which they were
// queued, by whichever thread comes first; the others go on.
type output struct {
	name string
	w    io.Writer

	writing sync.Mutex // held while w is in use

	mu     sync.Mutex
	queue  [][]byte
	queued int
	err    error // the first of w
}

// An OutputError says that the reader of an output is gone, or its disk is full.
// An ordinary program would have been told, or ended by SIGPIPE.
type OutputError struct {
	Name string // "stdout" or "stderr"
	Err  error
}

func (e *OutputError) Error() string { return fmt.Sprintf("writing to %s: %v", e.Name, e.Err) }

// Unwrap returns Err.
func (e *OutputError) Unwrap() error { return e.Err }

// put queues b, which becomes the output's. It must be followed by flush, after
// the caller has given up what orders the messages.
func (o *output) put(b []byte) {
	o.mu.Lock()
	if o.err == nil {
		o.queue = append(o.queue, b)
		o.queued += len(b)
	}
	o.mu.Unlock()
}

// take empties the queue.
func (o *output) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queue
	o.queue, o.queued = nil, 0
	return q
}

// waiting returns how much is queued, and the error of w.
func (o *output) waiting() (n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued, o.err
}

// flush writes what is queued. If somebody else is writing, he will write it;
// unless all is set, or too much is queued: then flush waits for him.
func (o *output) flush(all bool) error {
	for {
		n, err := o.waiting()
		if err != nil || n == 0 && !all {
			return err
		}
		if all || n > maxQueued {
			o.writing.Lock()
		} else if !o.writing.TryLock() {
			return nil // and he looks again after he has unlocked
		}
		err = o.write(o.take())
		o.writing.Unlock()
		if err != nil {
			return err
		}
		all = false
	}
}

func (o *output) write(queue [][]byte) error {
	for _, b := range queue {
		if _, err := o.w.Write(b); err != nil {
			err = &OutputError{o.name, err}
			o.mu.Lock()
			o.err, o.queue, o.queued = err, nil, 0
			o.mu.Unlock()
			return err
		}
	}
	return nil
}
