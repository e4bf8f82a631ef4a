//! Rounds floats to their `keepbits` highest bits of mantissa, so that what follows compresses better.
//!
//! array → array of the same data type, f4 or f8; decoding changes nothing. Parameter: keepbits.
const std = @import("std");
const allocator = std.heap.wasm_allocator;

var item_size: usize = 0;
var dropped_bits: u6 = 0;
var error_message: []const u8 = "";

const Setup = struct {
    parameters: struct { keepbits: u6 },
    decoded: struct { data_type: []const u8 },
};

export fn wazarr_abi() i32 {
    return 1;
}

export fn alloc(len: usize) ?[*]u8 {
    const memory = allocator.alignedAlloc(u8, .@"16", @max(len, 1)) catch return null;
    return memory.ptr;
}

export fn dealloc(pointer: [*]align(16) u8, len: usize) void {
    allocator.free(pointer[0..@max(len, 1)]);
}

export fn error_text() i64 {
    return @as(i64, @intFromPtr(error_message.ptr)) << 32 | @as(i64, @intCast(error_message.len));
}

export fn configure(json: [*]const u8, len: usize) i32 {
    const options = std.json.ParseOptions{ .ignore_unknown_fields = true };
    const setup = std.json.parseFromSlice(Setup, allocator, json[0..len], options) catch
        return fail("keepbits is missing, or not an integer");
    const kind = setup.value.decoded.data_type;
    item_size = if (std.mem.eql(u8, kind, "<f4")) 4 else if (std.mem.eql(u8, kind, "<f8")) 8 else 0;
    const mantissa: u6 = if (item_size == 4) 23 else 52;
    if (item_size == 0 or setup.value.parameters.keepbits > mantissa)
        return fail("bit-round is for f4 with up to 23 bits to keep, and f8 with up to 52");
    dropped_bits = mantissa - setup.value.parameters.keepbits;
    return 0;
}

fn fail(text: []const u8) i32 {
    error_message = text;
    return -1;
}

/// Half of the last place that stays is added, less one where that place is even: ties go to even.
fn round(comptime Bits: type, input: [*]const u8, output: [*]u8, len: usize) void {
    const from = std.mem.bytesAsSlice(Bits, input[0..len]);
    const to = std.mem.bytesAsSlice(Bits, output[0..len]);
    const shift: std.math.Log2Int(Bits) = @intCast(dropped_bits);
    const half = (@as(Bits, 1) << shift) >> 1;
    for (from, to) |bits, *rounded| {
        const odd = (bits >> shift) & 1;
        rounded.* = if (shift == 0) bits else (bits +% (half - 1 + odd)) >> shift << shift;
    }
}

export fn encode(input: [*]const u8, len: usize, output: [*]u8, output_len: usize) i64 {
    if (len > output_len) return -2;
    if (item_size == 4) round(u32, input, output, len) else round(u64, input, output, len);
    return @intCast(len);
}

export fn decode(input: [*]const u8, len: usize, output: [*]u8, output_len: usize) i64 {
    if (len > output_len) return -2;
    @memcpy(output[0..len], input[0..len]);
    return @intCast(len);
}
