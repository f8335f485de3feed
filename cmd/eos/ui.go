package main

// The printing rules, all in this file.
//
//   - stdout carries what was asked for, and nothing else. With --json it is
//     exactly one JSON document.
//   - stderr carries everything that is said about it: "eos: error: …",
//     "eos: warning: …" and, after a success, "eos: hint: …". Lower case, no
//     full stop, one line each; what files contain is quoted so that it stays
//     one line.
//   - An error says what, where and, behind "; hint:", what to do: one line that
//     a log keeps together. It is printed once, here, by fail.
//   - Progress is shown on a terminal only, on stderr, and is wiped again.
//   - Exit codes: 0, 1 for errors, 2 for a wrong command line. The enclave's own
//     status, and what diff found, are exitStatus values and print nothing.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"
)

const (
	exitError = 1
	exitUsage = 2
)

// exitStatus ends the program with that code and without a word.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// withStatus is an error with an exit code of its own.
type withStatus struct {
	error
	status int
}

func (e withStatus) Unwrap() error { return e.error }

// hinted is an error and what to do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// withHint attaches a hint to an error; the outermost hint is printed.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// usageError is a fault of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool { return errors.As(err, new(usageError)) }

// ui is where a verb reads and prints.
type ui struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (u *ui) fail(err error) {
	text := err.Error()
	var h *hinted
	if errors.As(err, &h) {
		text += "; hint: " + h.hint
	}
	u.say("error", text)
}

func (u *ui) warn(format string, args ...any) { u.say("warning", fmt.Sprintf(format, args...)) }
func (u *ui) hint(format string, args ...any) { u.say("hint", fmt.Sprintf(format, args...)) }

func (u *ui) say(kind, text string) { fmt.Fprintf(u.stderr, "eos: %s: %s\n", kind, oneLine(text)) }

// oneLine makes text safe to print: line ends become "; " and other control
// characters, which may come from a file, are escaped.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\x%02x", r)
		}
	}
	return b.String()
}

// printf writes to stdout.
func (u *ui) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(u.stdout, format, args...)
	return err
}

// json prints v as the one document of a --json run.
func (u *ui) json(v any) error {
	e := json.NewEncoder(u.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table returns a writer that aligns tab-separated columns on stdout; call
// Flush at the end.
func (u *ui) table() *table {
	t := &table{out: u.stdout}
	t.Writer = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	return t
}

// table is a tabwriter without blanks at line ends.
type table struct {
	*tabwriter.Writer
	text bytes.Buffer
	out  io.Writer
}

func (t *table) Flush() error {
	if err := t.Writer.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(t.text.String()) {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	t.text.Reset()
	_, err := io.WriteString(t.out, b.String())
	return err
}

// facts prints name-value pairs in two columns.
func (u *ui) facts(pairs ...string) error {
	w := u.table()
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(w, "%s\t%s\n", pairs[i], pairs[i+1])
	}
	return w.Flush()
}

// progress counts bytes that pass through it and, when the work is long and
// stderr is a terminal, shows the count.
type progress struct {
	out   io.Writer // nil: not shown
	what  string
	total int64 // 0: unknown
	done  int64
	next  time.Time
	shown bool
}

func (u *ui) progress(what string, total int64) *progress {
	p := &progress{what: what, total: total}
	if f, ok := u.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out, p.next = f, time.Now().Add(time.Second)
	}
	return p
}

// Write counts len(b) bytes.
func (p *progress) Write(b []byte) (int, error) {
	p.done += int64(len(b))
	if p.out == nil {
		return len(b), nil
	}
	if now := time.Now(); now.After(p.next) {
		p.next, p.shown = now.Add(200*time.Millisecond), true
		if p.total > 0 {
			fmt.Fprintf(p.out, "\r\x1b[K%s: %s of %s", p.what, humanSize(uint64(p.done)), humanSize(uint64(p.total)))
		} else {
			fmt.Fprintf(p.out, "\r\x1b[K%s: %s", p.what, humanSize(uint64(p.done)))
		}
	}
	return len(b), nil
}

// end wipes what was shown.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

// bufferedUI prints to stdout through a buffer: for listings of many lines.
type bufferedUI struct {
	*bufio.Writer
	ui *ui
}

func (u *ui) buffered() bufferedUI {
	w := bufio.NewWriterSize(u.stdout, 1<<16)
	return bufferedUI{w, &ui{stdin: u.stdin, stdout: w, stderr: u.stderr}}
}
