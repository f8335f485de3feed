package wasm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/enclaveos/eos/pkg/ijson"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// maxNumber bounds the text of a number.
const maxNumber = 1024

// scalar is the core value of a JSON value.
func scalar(t abi.Type, raw json.RawMessage) (uint64, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) > maxNumber {
		return 0, fmt.Errorf("%s is no %s", short(raw), t)
	}
	text := string(raw)
	digits := text
	if t == abi.S64 || t == abi.U64 { // numbers beyond 2^53 do not survive every client
		if s, err := ijson.Text(raw); err == nil {
			digits = string(s)
			if digits == "-0" || strings.HasPrefix(digits, "+") || len(strings.TrimPrefix(digits, "-")) > 1 && strings.TrimPrefix(digits, "-")[0] == '0' {
				digits = "" // as a number would be written, or not at all
			}
		}
	}
	switch t {
	case abi.Bool:
		switch text {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	case abi.S32:
		if v, err := strconv.ParseInt(digits, 10, 32); err == nil {
			return api.EncodeI32(int32(v)), nil
		}
	case abi.U32:
		if v, err := strconv.ParseUint(digits, 10, 32); err == nil {
			return v, nil
		}
	case abi.S64:
		if v, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return uint64(v), nil
		}
	case abi.U64:
		if v, err := strconv.ParseUint(digits, 10, 64); err == nil {
			return v, nil
		}
	case abi.F32:
		var v float32
		if text != "null" && json.Unmarshal(raw, &v) == nil {
			return api.EncodeF32(v), nil
		}
	case abi.F64:
		var v float64
		if text != "null" && json.Unmarshal(raw, &v) == nil {
			return api.EncodeF64(v), nil
		}
	}
	return 0, fmt.Errorf("%s is no %s", short(raw), t)
}

// indirect is the bytes of a JSON value whose type lies in memory.
func indirect(t abi.Type, raw json.RawMessage) ([]byte, error) {
	switch t {
	case abi.JSON:
		return bytes.TrimSpace(raw), nil
	default:
		text, err := ijson.Text(bytes.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("%s is no %s", short(raw), t)
		}
		if t == abi.String {
			return text, nil
		}
		b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Strict().Decode(b, text)
		if err != nil {
			return nil, fmt.Errorf("%s is not base64", short(text))
		}
		return b[:n], nil
	}
}

// short is what an error says of something that may be long.
func short[T ~string | ~[]byte](s T) string {
	if len(s) > 40 {
		return string(s[:40]) + "..."
	}
	return string(s)
}

// scalarJSON is the JSON of a core value.
func scalarJSON(t abi.Type, v uint64) (json.RawMessage, error) {
	switch t {
	case abi.Bool:
		return strconv.AppendBool(nil, uint32(v) != 0), nil
	case abi.S32:
		return strconv.AppendInt(nil, int64(int32(v)), 10), nil
	case abi.U32:
		return strconv.AppendUint(nil, uint64(uint32(v)), 10), nil
	case abi.S64:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case abi.U64:
		return strconv.AppendUint(nil, v, 10), nil
	case abi.F32:
		return floatJSON(float64(api.DecodeF32(v)), 32)
	case abi.F64:
		return floatJSON(api.DecodeF64(v), 64)
	}
	return json.RawMessage("null"), nil
}

func floatJSON(v float64, bits int) (json.RawMessage, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, fmt.Errorf("the result %v is not a number in JSON", v)
	}
	if bits == 32 {
		return json.Marshal(float32(v))
	}
	return json.Marshal(v)
}

// indirectJSON is the JSON of bytes from memory.
func indirectJSON(t abi.Type, b []byte) (json.RawMessage, error) {
	switch t {
	case abi.String:
		if !utf8.Valid(b) {
			return nil, fmt.Errorf("the result is not UTF-8")
		}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(string(b)); err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
	case abi.JSON:
		if !json.Valid(b) {
			return nil, fmt.Errorf("the result is not JSON")
		}
		return bytes.Clone(b), nil
	}
	return json.Marshal(b)
}
