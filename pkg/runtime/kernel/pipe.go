package kernel

// Pipes, as os.Pipe makes them: within the program, since there are no others.
type pipe struct {
	used               bool
	readable, writable bool // whether the ends are open
	buf                uint64
	from, to           uint64 // cursors: bytes read and written so far
	reader, writer     uint32 // descriptors of the ends
}

const (
	maxPipes  = 64
	pipeSize  = 64 << 10
	pipeBlock = 4096 // PIPE_BUF: writes of so many bytes are not torn
)

var (
	pipes    [maxPipes]pipe
	pipeLock uint32
)

// pipe2 writes two descriptors to p.
func pipe2(p, flags uint64) uint64 {
	lock(&pipeLock)
	i := 0
	for i < maxPipes && pipes[i].used {
		i++
	}
	if i == maxPipes {
		unlock(&pipeLock)
		return errMFile
	}
	q := &pipes[i]
	*q = pipe{used: true, readable: true, writable: true}
	unlock(&pipeLock)

	mode := uint32(flags) & oNONBLOCK
	q.buf = mem.mmap(0, pipeSize, 3, mapAnonymous)
	if failed(q.buf) {
		q.used = false
		return errNoMem
	}
	r := fdNew(fdPipeOut, oRDONLY|mode, uint32(i))
	if failed(r) {
		mem.munmap(q.buf, pipeSize)
		q.used = false
		return errMFile
	}
	q.reader = uint32(r)
	w := fdNew(fdPipeIn, oWRONLY|mode, uint32(i))
	if failed(w) {
		q.writable = false
		closeFD(nil, r)
		return errMFile
	}
	q.writer = uint32(w)
	*at[uint32](p), *at[uint32](p + 4) = q.reader, q.writer
	return 0
}

// pipeRead reads from the end of kind fdPipeOut.
func pipeRead(t *thread, d *fd, p, size uint64) uint64 {
	q := &pipes[d.obj]
	for size != 0 {
		lock(&pipeLock)
		n := min(q.to-q.from, size)
		open := q.writable
		if n != 0 {
			i := q.from % pipeSize
			first := min(n, pipeSize-i)
			move(p, q.buf+i, first)
			move(p+first, q.buf, n-first)
			q.from += n
		}
		unlock(&pipeLock)
		switch {
		case n != 0:
			pipeTell(q, q.writer, pollOut)
			return n
		case !open:
			return 0
		case d.flags&oNONBLOCK != 0:
			return errAgain
		case !pipeWait(t, q, func() bool { return q.to != q.from || !q.writable }):
			return errIntr
		}
	}
	return 0
}

// pipeWrite writes to the end of kind fdPipeIn: all of it, unless it must not wait.
func pipeWrite(t *thread, d *fd, p, size uint64) uint64 {
	q := &pipes[d.obj]
	done := uint64(0)
	for done < size {
		lock(&pipeLock)
		n := min(pipeSize-(q.to-q.from), size-done)
		if size <= pipeBlock && n < size {
			n = 0
		}
		open := q.readable
		if n != 0 && open {
			i := q.to % pipeSize
			first := min(n, pipeSize-i)
			move(q.buf+i, p+done, first)
			move(q.buf, p+done+first, n-first)
			q.to += n
			done += n
		}
		unlock(&pipeLock)
		switch {
		case !open:
			if done != 0 {
				return done
			}
			return errPipe
		case n != 0:
			pipeTell(q, q.reader, pollIn)
		case d.flags&oNONBLOCK != 0:
			if done != 0 {
				return done
			}
			return errAgain
		case !pipeWait(t, q, func() bool { return q.to-q.from < pipeSize || !q.readable }):
			if done != 0 {
				return done
			}
			return errIntr
		}
	}
	return done
}

// pipeWait waits until the other end has done something; it reports false for a
// signal.
func pipeWait(t *thread, q *pipe, changed func() bool) bool {
	lock(&waitLock)
	t.enqueue(addrOf(q))
	unlock(&waitLock)
	lock(&pipeLock)
	now := changed()
	unlock(&pipeLock)
	if now {
		t.dequeue()
		return true
	}
	return t.wait(forever) != waitSignal
}

// pipeTell wakes who waits for the pipe.
func pipeTell(q *pipe, n, events uint32) {
	wake(addrOf(q), maxPipes)
	pollReady(n, events)
}

// pipeClose closes an end; the pipe goes with the second.
func pipeClose(kind uint8, obj uint32) {
	q := &pipes[obj]
	lock(&pipeLock)
	other, events := q.reader, uint32(pollIn|pollHup)
	open := q.readable
	if kind == fdPipeOut {
		q.readable = false
		other, events, open = q.writer, pollOut|pollErr, q.writable
	} else {
		q.writable = false
	}
	unlock(&pipeLock)
	if open {
		pipeTell(q, other, events)
		return
	}
	mem.munmap(q.buf, pipeSize)
	q.used = false
}

// pipeReady is what an end is ready for now.
func pipeReady(kind uint8, obj uint32) (events uint32) {
	q := &pipes[obj]
	lock(&pipeLock)
	if kind == fdPipeOut {
		if q.to != q.from {
			events |= pollIn
		}
		if !q.writable {
			events |= pollIn | pollHup
		}
	} else {
		if pipeSize-(q.to-q.from) >= pipeBlock {
			events |= pollOut
		}
		if !q.readable {
			events |= pollOut | pollErr
		}
	}
	unlock(&pipeLock)
	return events
}
