package edp

import "sync"

// file is what a file descriptor stands for: one of the two.
type file struct {
	stream   *stream
	listener *listener
}

func (f file) close() {
	if f.stream != nil {
		f.stream.close()
	} else {
		f.listener.close()
	}
}

// fdTable is the open file descriptors. Numbers are never used again.
type fdTable struct {
	mu     sync.RWMutex
	files  map[uint64]file
	next   uint64
	closed bool
}

// add gives f a number. After closeAll it closes f instead.
func (t *fdTable) add(f file) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		f.close()
		return 0, errStopped
	}
	fd := t.next
	t.next++
	t.files[fd] = f
	return fd, nil
}

func (t *fdTable) get(fd uint64) (file, error) {
	t.mu.RLock()
	f, ok := t.files[fd]
	t.mu.RUnlock()
	if !ok {
		return file{}, ResultBrokenPipe
	}
	return f, nil
}

func (t *fdTable) stream(fd uint64) (*stream, error) {
	f, err := t.get(fd)
	if err == nil && f.stream == nil {
		err = ResultInvalidInput
	}
	return f.stream, err
}

func (t *fdTable) listener(fd uint64) (*listener, error) {
	f, err := t.get(fd)
	if err == nil && f.listener == nil {
		err = ResultInvalidInput
	}
	return f.listener, err
}

// remove closes fd. A number that is not open is ignored.
func (t *fdTable) remove(fd uint64) {
	t.mu.Lock()
	f, ok := t.files[fd]
	delete(t.files, fd)
	t.mu.Unlock()
	if ok {
		f.close()
	}
}

// closeAll closes everything and wakes all who are blocked.
func (t *fdTable) closeAll() {
	t.mu.Lock()
	files := t.files
	t.files, t.closed = nil, true
	t.mu.Unlock()
	for _, f := range files {
		f.close()
	}
}
