package wasm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// scalar is the core value of a JSON value.
func scalar(t abi.Type, raw json.RawMessage) (uint64, error) {
	text := string(bytes.TrimSpace(raw))
	digits := text
	if t == abi.S64 || t == abi.U64 { // numbers beyond 2^53 do not survive every client
		var s string
		if json.Unmarshal(raw, &s) == nil {
			digits = s
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
	return 0, fmt.Errorf("%s is no %s", short(text), t)
}

// indirect is the bytes of a JSON value whose type lies in memory.
func indirect(t abi.Type, raw json.RawMessage) ([]byte, error) {
	switch t {
	case abi.JSON:
		return bytes.TrimSpace(raw), nil
	default:
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return nil, fmt.Errorf("%s is no %s", short(string(raw)), t)
		}
		if t == abi.String {
			return []byte(*s), nil
		}
		b, err := base64.StdEncoding.Strict().DecodeString(*s)
		if err != nil {
			return nil, fmt.Errorf("%s is not base64", short(*s))
		}
		return b, nil
	}
}

func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
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
