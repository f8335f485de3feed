package edp

import (
	"bytes"
	"regexp"
	"unicode/utf8"
)

// panicText follows the debug buffer of one thread. The enclave writes its
// panic message there, at any time, and then goes on to make usercalls; the
// Rust runtime finally writes "Exited with status code N" over the start. So
// the buffer stays the same one for all entries of a thread, and what was in
// it before a change is kept.
type panicText struct {
	buf  []byte // debugBufferSize bytes that the enclave shares
	last [debugBufferSize]byte
	prev []byte // the contents before those in last, or nil
}

// reset empties the buffer for a fresh entry.
func (p *panicText) reset() {
	clear(p.buf)
	clear(p.last[:])
	p.prev = nil
}

// look notes the contents. It is called each time the thread leaves.
func (p *panicText) look() {
	if p.buf[0] == 0 || bytes.Equal(p.buf, p.last[:]) {
		return
	}
	if p.last[0] != 0 {
		p.prev = bytes.Clone(p.last[:])
	}
	copy(p.last[:], p.buf)
}

// statusLine is what the Rust runtime writes when main gave a status other
// than zero, or panicked (status 101).
var statusLine = regexp.MustCompile(`^Exited with status code -?\d+`)

// error makes the error of an exit with panic set.
func (p *panicText) error(tcs uint64) *PanicError {
	p.look()
	e := &PanicError{TCS: tcs}
	if p.last[0] == 0 {
		return e
	}
	e.Raw = bytes.Clone(p.last[:])
	text, _, _ := bytes.Cut(e.Raw, []byte{0})
	if !utf8.Valid(text) {
		// The status line may have cut a character in two.
		if s := statusLine.Find(text); s == nil || !utf8.Valid(bytes.TrimLeftFunc(text[len(s):], isCut)) {
			return e
		}
	}
	status := statusLine.Find(text)
	if status == nil {
		e.Text = string(text)
		return e
	}
	e.Status = string(status)
	if p.prev != nil {
		if old, _, _ := bytes.Cut(p.prev, []byte{0}); utf8.Valid(old) && statusLine.Find(old) == nil {
			e.Text = string(old)
			return e
		}
	}
	if rest := bytes.TrimLeftFunc(text[len(status):], isCut); len(rest) > 0 {
		e.Text = "..." + string(rest)
	}
	return e
}

// isCut is true of the bytes that remain of a character whose start has been
// overwritten.
func isCut(r rune) bool { return r == utf8.RuneError }
