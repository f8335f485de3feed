package eos

import (
	"encoding/json"
	"errors"
	"fmt"
)

// What the host can answer.
var (
	ErrFault       = errors.New("eos: memory that the guest does not have")
	ErrNotFound    = errors.New("eos: not found")
	ErrDenied      = errors.New("eos: not granted by the manifest")
	ErrInvalid     = errors.New("eos: an argument that makes no sense")
	ErrTooLarge    = errors.New("eos: too large")
	ErrUnavailable = errors.New("eos: not available")
	ErrAuth        = errors.New("eos: not authentic")
	ErrExists      = errors.New("eos: there is one already")
	ErrNoRoom      = errors.New("eos: the app has stored as much as its manifest allows")
)

var codes = [...]error{ErrFault, ErrNotFound, ErrDenied, ErrInvalid, ErrTooLarge, ErrUnavailable, ErrAuth, ErrExists, ErrNoRoom}

// check turns what the host returned into a number or an error.
func check(code int32) (int32, error) {
	switch {
	case code >= 0:
		return code, nil
	case int(-code) <= len(codes):
		return 0, codes[-code-1]
	}
	return 0, fmt.Errorf("eos: error %d", code)
}

// done is check for functions without a result.
func done(code int32) error {
	_, err := check(code)
	return err
}

// yes is check for functions that return 1 or 0.
func yes(code int32) (bool, error) {
	n, err := check(code)
	return n == 1, err
}

// output takes the bytes of a function with a result.
func output(code int32) ([]byte, error) {
	n, err := check(code)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	got, err := check(resultRead(b))
	return b[:got], err
}

// Reply gives the result of the call that is being answered.
func Reply[T ~string | ~[]byte](result T) { reply(string(result)) }

// ReplyJSON gives v as the result, in JSON.
func ReplyJSON(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		Fail(err)
		return
	}
	Reply(b)
}

// Fail ends the call that is being answered with an error: its text goes to the
// caller. The function should return then.
func Fail(err error) { fail(err.Error()) }

// The levels of Log, those of log/slog.
const (
	LevelDebug = -4
	LevelInfo  = 0
	LevelWarn  = 4
	LevelError = 8
)

// Log writes a line to the enclave's log.
func Log(level int, text string) { log(int32(level), text) }
