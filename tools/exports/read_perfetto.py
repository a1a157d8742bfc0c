"""Reads an export by Perfetto's published schema, and prints the samples of each function by itself and with
what it has called, as JSON.

usage: read_perfetto.py FILE
"""

import collections
import json
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2

trace = perfetto_trace_pb2.Trace()
with open(sys.argv[1], "rb") as file:
    trace.ParseFromString(file.read())
names, frames, stacks = {}, {}, {}
shares = collections.defaultdict(lambda: [0, 0])
counters = collections.defaultdict(int)
for packet in trace.packet:
    sequence = packet.trusted_packet_sequence_id
    data = packet.interned_data
    for name in data.function_names:
        names[sequence, name.iid] = name.str.decode()
    for frame in data.frames:
        frames[sequence, frame.iid] = names[sequence, frame.function_name_id]
    for stack in data.callstacks:
        stacks[sequence, stack.iid] = [frames[sequence, it] for it in stack.frame_ids]
    if packet.HasField("perf_sample"):
        sample = packet.perf_sample
        # A counter goes on.
        assert sample.timebase_count > counters[sequence, sample.cpu], packet
        counters[sequence, sample.cpu] = sample.timebase_count
        stack = stacks[sequence, sample.callstack_iid]
        shares[stack[-1]][0] += 1
        for name in set(stack):
            shares[name][1] += 1
json.dump({sys.argv[1]: shares}, sys.stdout)
