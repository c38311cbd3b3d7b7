#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's tiercel under asyncio.

    async_test.py [CLASS[.test]]...
"""
import asyncio
import unittest

import numpy as np

import tiercel
from case import Case


class Async(Case):
    def test_an_epoch(self):
        cont = self.open()

        async def main():
            async with cont.epoch() as e:
                await e.array(1).write_async(np.arange(100000))
                e.kv(2)["k"] = b"v"
            out = np.empty(100000, int)
            self.assertEqual(await cont.array(1).read_into_async(out), out.nbytes)
            np.testing.assert_array_equal(out, np.arange(100000))
            with self.assertRaises(ZeroDivisionError):
                async with cont.epoch() as e:
                    e.kv(2)["k"] = b"w"
                    await cont.flush_async(e.epoch)
                    1 / 0
            self.assertEqual(await cont.hold_async(), 2)
            self.assertEqual(cont.kv(2)["k"], b"v")
            self.assertEqual((await cont.commit_async(2)).ghce, 2)
            self.assertEqual(await cont.hold_async(tiercel.EPOCH_MAX), tiercel.EPOCH_MAX)
            self.assertEqual((await cont.aggregate_async())[0], 2)
        asyncio.run(main())

    def test_waiting_for_another_process(self):
        cont = self.open()
        child = self.child("""
for line in sys.stdin:
    with cont.epoch() as e:
        e.kv(1)["line"] = line.strip().encode()
""")

        async def main():
            seen = []
            async for epoch in cont.committed():
                seen.append((epoch, cont.at(epoch).kv(1)["line"]))
                if epoch == 3:
                    break
                child.stdin.write(f"line {epoch + 1}\n")
                child.stdin.flush()
            return seen

        async def both():
            work = asyncio.create_task(main())
            await asyncio.sleep(0)
            child.stdin.write("line 1\n")
            child.stdin.flush()
            return await work
        self.assertEqual(asyncio.run(asyncio.wait_for(both(), 30)),
                         [(1, b"line 1"), (2, b"line 2"), (3, b"line 3")])

    def test_commits_in_order(self):
        cont = self.open()
        cont.epoch_hold(1)
        for epoch in (1, 2, 3):
            cont.kv_put(epoch, 1, b"n", b"%d" % epoch)

        async def main():
            order = []

            async def commit(epoch):
                await cont.commit_in_order_async(epoch)
                order.append(epoch)
            late = [asyncio.create_task(commit(epoch)) for epoch in (3, 2)]
            await asyncio.sleep(0)
            self.assertEqual(cont.epochs().ghce, 0)
            await commit(1)
            await asyncio.gather(*late)
            return order
        self.assertEqual(asyncio.run(main()), [1, 2, 3])
        self.assertEqual(cont.epochs().ghce, 3)

    def test_cancelling(self):
        cont, other = self.open(), self.open()

        async def main():
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(cont.wait_async(1), 0.05)
            task = asyncio.create_task(cont.wait_async(1))
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            async with other.lock("l"):
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(cont.lock("l").acquire_async(), 0.05)
                with self.assertRaises(tiercel.Busy):
                    await cont.lock("l", timeout=0).acquire_async()
                with self.assertRaises(tiercel.TimedOut):
                    await cont.lock("l", timeout=0.01).acquire_async()
            async with cont.lock("l", timeout=5) as lock:
                lock.epoch = 3
            async with other.lock("l", timeout=5) as lock:
                self.assertEqual(lock.epoch, 3)
        asyncio.run(main())
        with cont.lock("l", timeout=0):
            pass

    def test_locks_wait_for_each_other(self):
        cont, other = self.open(), self.open()

        async def main():
            order = []

            async def work(name, handle):
                async with handle.lock("l"):
                    order.append(name)
                    await asyncio.sleep(0)
                    order.append(name)
            await asyncio.gather(work("a", cont), work("b", other))
            return order
        order = asyncio.run(main())
        self.assertIn(order, (["a", "a", "b", "b"], ["b", "b", "a", "a"]))

    def test_closing_ends_what_waits(self):
        cont = self.open()

        async def main():
            waits = [asyncio.create_task(cont.wait_async(n)) for n in (1, 2)]
            numbers = asyncio.create_task(self.collect(cont))
            await asyncio.sleep(0)
            cont.close()
            for wait in waits:
                with self.assertRaises(tiercel.Canceled):
                    await wait
            self.assertEqual(await numbers, [])
        asyncio.run(main())

    @staticmethod
    async def collect(cont):
        return [epoch async for epoch in cont.committed(0)]

    def test_errors_come_where_they_are_awaited(self):
        cont = self.open()

        async def main():
            with self.assertRaises(tiercel.NotHeld) as caught:
                await cont.commit_async(5)
            self.assertIn("5", caught.exception.strerror)
            cont.close()
            with self.assertRaises(tiercel.Closed):
                await cont.wait_async(1)
        asyncio.run(main())

    def test_loops_come_and_go(self):
        cont = self.open()

        async def main(number):
            async with cont.epoch() as e:
                e.kv(1)["n"] = b"%d" % number
        for number in range(5):
            asyncio.run(main(number))
        self.assertEqual(cont.kv(1)["n"], b"4")

    def test_many_at_once(self):
        cont = self.open()

        async def main():
            async with cont.epoch() as e:
                await asyncio.gather(*(e.array(n).write_async(b"%d" % n * 1000) for n in range(100)))
            rooms = [bytearray(4000) for _ in range(100)]
            sizes = await asyncio.gather(*(cont.array(n).read_into_async(rooms[n]) for n in range(100)))
            for n in range(100):
                self.assertEqual(bytes(rooms[n][:sizes[n]]), b"%d" % n * 1000)
        asyncio.run(main())


if __name__ == "__main__":
    unittest.main(verbosity=2)
