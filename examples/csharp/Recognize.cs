// Recognizes the actions of people in a stream of poses, as ../c/recognize.c does, without checks of its input.
//
//   mcs -out:recognize.exe examples/csharp/*.cs
//   LD_LIBRARY_PATH=~/motionrt/lib mono recognize.exe BUNDLE LAYOUT < frames
using System;
using System.Globalization;
using System.IO;
using Motionrt;

static class Program
{
    static int Main(string[] arguments)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            Recognize(arguments[0], arguments[1]);
            return 0;
        }
        catch (MotionrtException error)
        {
            Console.Error.WriteLine("recognize: " + error.Message);
            return 2;
        }
    }

    static void Recognize(string folder, string layoutName)
    {
        byte[] manifest = File.ReadAllBytes(Path.Combine(folder, "manifest.json"));
        byte[] weights = File.ReadAllBytes(Path.Combine(folder, "weights.safetensors"));
        using (var recognizer = new Recognizer(manifest, weights))
        {
            int layout = recognizer.Layout(layoutName);
            string line;
            while ((line = Console.ReadLine()) != null)
            {
                if (line.StartsWith("#")) continue;
                string[] words = line.Split((char[])null, StringSplitOptions.RemoveEmptyEntries);
                double t = double.Parse(words[0]);
                var joints = new float[words.Length - 2];
                for (int i = 0; i < joints.Length; ++i) joints[i] = float.Parse(words[i + 2]);
                Decision now = recognizer.Step(t, long.Parse(words[1]), joints, layout);
                string text = string.Format("{0:F3}\t{1}\t{2}\t{3:F6}", t, now.Person, recognizer.Label(now.Label) ?? "-", (double)now.Score);
                if (now.Event == Event.Onset) text += string.Format("\tonset\t{0}\t{1:F3}", recognizer.Label(now.EventLabel), now.Since);
                if (now.Event == Event.Offset) text += "\toffset\t" + recognizer.Label(now.EventLabel);
                Console.WriteLine(text);
            }
        }
    }
}
