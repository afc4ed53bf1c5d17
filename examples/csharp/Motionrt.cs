// motionrt.h for C#: Unity, Mono and .NET. A handle is freed by Dispose; errors are exceptions.
using System;
using System.Runtime.InteropServices;
using System.Text;

namespace Motionrt
{
    public enum Tracking { Tracked, Dropped, Missing, Lost }

    public enum Event { None, Onset, Offset }

    [StructLayout(LayoutKind.Sequential)]
    public struct Decision
    {
        public long Person;
        public Tracking Tracking;
        public int Label;
        public float Score;
        public Event Event;
        public int EventLabel;
        public double Since;
    }

    public sealed class MotionrtException : Exception
    {
        public MotionrtException(string message) : base(message) { }
    }

    /// A loaded model. Its functions are thread-safe.
    public sealed class Recognizer : IDisposable
    {
        IntPtr handle;

        /// Loads the contents of a bundle's manifest.json and weights.safetensors.
        public Recognizer(byte[] manifest, byte[] weights)
        {
            GCHandle first = GCHandle.Alloc(manifest, GCHandleType.Pinned);
            GCHandle second = GCHandle.Alloc(weights, GCHandleType.Pinned);
            try
            {
                var bundle = new Native.Bundle
                {
                    Manifest = first.AddrOfPinnedObject(),
                    ManifestSize = (UIntPtr)manifest.Length,
                    Weights = second.AddrOfPinnedObject(),
                    WeightsSize = (UIntPtr)weights.Length,
                };
                Native.Check(Native.motionrt_load_memory(ref bundle, IntPtr.Zero, 0, out handle));
            }
            finally
            {
                first.Free();
                second.Free();
            }
        }

        public int Layout(string name)
        {
            int layout;
            Native.Check(Native.motionrt_layout(handle, name, out layout));
            return layout;
        }

        /// The text of a label; null for -1.
        public string Label(int index)
        {
            return Native.Text(Native.motionrt_label(handle, index));
        }

        /// Takes one person's joints, x y z each, in meters, y up, at time t in seconds.
        public Decision Step(double t, long person, float[] joints, int layout)
        {
            GCHandle pinned = GCHandle.Alloc(joints, GCHandleType.Pinned);
            try
            {
                var pose = new Native.Pose
                {
                    Person = person,
                    Joints = pinned.AddrOfPinnedObject(),
                    JointCount = joints.Length / 3,
                };
                Decision decision;
                Native.Check(Native.motionrt_step(handle, t, ref pose, 1, layout, out decision));
                return decision;
            }
            finally
            {
                pinned.Free();
            }
        }

        public void Dispose()
        {
            Native.motionrt_free(handle);
            handle = IntPtr.Zero;
        }
    }

    static class Native
    {
        const string Library = "motionrt"; // on iOS, which links statically: "__Internal"

        [StructLayout(LayoutKind.Sequential)]
        internal struct Bundle
        {
            public IntPtr Manifest;
            public UIntPtr ManifestSize;
            public IntPtr Weights;
            public UIntPtr WeightsSize;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Pose
        {
            public long Person;
            public IntPtr Joints, Confidence;
            public int JointCount;
        }

        [DllImport(Library)] static extern IntPtr motionrt_error();
        [DllImport(Library)] internal static extern int motionrt_load_memory(ref Bundle bundle, IntPtr flat, int precision, out IntPtr recognizer);
        [DllImport(Library)] internal static extern void motionrt_free(IntPtr recognizer);
        [DllImport(Library)] internal static extern int motionrt_layout(IntPtr recognizer, string name, out int layout);
        [DllImport(Library)] internal static extern IntPtr motionrt_label(IntPtr recognizer, int index);
        [DllImport(Library)] internal static extern int motionrt_step(IntPtr recognizer, double t, ref Pose poses, int count, int layout, out Decision decisions);

        internal static string Text(IntPtr utf8)
        {
            if (utf8 == IntPtr.Zero) return null;
            int length = 0;
            while (Marshal.ReadByte(utf8, length) != 0) ++length;
            var bytes = new byte[length];
            Marshal.Copy(utf8, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }

        internal static void Check(int status)
        {
            if (status != 0) throw new MotionrtException(Text(motionrt_error()));
        }
    }
}
