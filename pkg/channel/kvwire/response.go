package kvwire

// Pair is a key and its value.
type Pair struct{ Key, Value []byte }

// AppendKeys appends the response of a KvListKeys.
func AppendKeys(b []byte, keys [][]byte) []byte {
	b = le.AppendUint32(b, uint32(len(keys)))
	for _, k := range keys {
		b = putBytes(b, k)
	}
	return b
}

// ParseKeys parses the response of a KvListKeys: keys in ascending order.
func ParseKeys(b []byte) ([][]byte, error) {
	c := response(ListKeys, b)
	n := c.count(MaxItems, 4+1)
	keys := make([][]byte, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		keys = append(keys, c.key(c.bytes(c.u32("key"), "key")))
		if i > 0 {
			c.ascending(keys[i-1], keys[i])
		}
	}
	return keys, c.end()
}

// AppendValues appends the response of a KvMultiGet; nil is an absent value.
func AppendValues(b []byte, values [][]byte) []byte {
	b = le.AppendUint32(b, uint32(len(values)))
	for _, v := range values {
		if v == nil {
			b = append(b, 0)
		} else {
			b = putBytes(append(b, 1), v)
		}
	}
	return b
}

// ParseValues parses the response of a KvMultiGet that asked for n keys; what is
// absent is nil, what is there is not.
func ParseValues(b []byte, n int) ([][]byte, error) {
	c := response(MultiGet, b)
	if got := c.count(MaxItems, 1); got != n {
		c.fail("%d values, for %d keys", got, n)
		return nil, c.end()
	}
	values := make([][]byte, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		switch present := c.u8("present"); {
		case c.err != nil:
		case present == 0:
			values = append(values, nil)
		case present == 1:
			values = append(values, c.value(c.bytes(c.u32("value"), "value")))
		default:
			c.fail("value %d is neither absent (0) nor present (1) but %d", i, present)
		}
	}
	return values, c.end()
}

// AppendPairs appends the response of a KvScan.
func AppendPairs(b []byte, pairs []Pair) []byte {
	b = le.AppendUint32(b, uint32(len(pairs)))
	for _, p := range pairs {
		b = putBytes(putBytes(b, p.Key), p.Value)
	}
	return b
}

// ParsePairs parses the response of a KvScan: pairs in ascending order of keys.
func ParsePairs(b []byte) ([]Pair, error) {
	c := response(Scan, b)
	n := c.count(MaxItems, 4+1+4)
	pairs := make([]Pair, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		p := Pair{Key: c.key(c.bytes(c.u32("key"), "key"))}
		p.Value = c.value(c.bytes(c.u32("value"), "value"))
		if i > 0 {
			c.ascending(pairs[i-1].Key, p.Key)
		}
		pairs = append(pairs, p)
	}
	return pairs, c.end()
}

func (c *cursor) ascending(a, b []byte) {
	if c.err == nil && string(a) >= string(b) {
		c.fail("the keys do not ascend")
	}
}

// ParseNothing parses the empty response of a write.
func ParseNothing(b []byte) error {
	c := response(WriteBatch, b)
	return c.end()
}
